/* denial: refusals as entries for everyone and as explanations for this node's operator. */
#include "node/denial.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX 65536u
#define DAY_MS 86400000u
#define SWEEP_MOST 4096u /* each minute; more than a minute brings */

struct source { /* one address that was refused lately */
    uint8_t address[16];
    uint64_t minute; /* of the count */
    unsigned count;  /* refused in this minute */
    uint64_t unwritten;
    int last_code;
};

struct denials {
    struct node *node;
    struct source source[DENIAL_SOURCES_MAX];
    size_t source_count;
    bool sweeping;
};

struct denial { /* one refusal on its way to the disk */
    struct log_append append;
    struct denials *owner;
    uint8_t id[DENIAL_ID_LEN], walk_id[WALK_ID_LEN], policy_hash[HASH_LEN];
    struct appraise_verdict verdict;
    struct err why;
    char address[64], device[NAME_MAX_LEN + 1];
    uint64_t stage, slot, time_ms;
    bool has_walk, has_record;
    denial_done done;
    void *arg;
};

int denials_new(struct node *n, struct denials **ret)
{
    struct denials *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return ERR_NOMEM;
    d->node = n;
    *ret = d;
    return 0;
}

void denials_free(struct denials *d)
{
    free(d);
}

static struct bytes printable(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    return bytes_str(text);
}

static int pack_record(struct denial *d, uint64_t entry_index, struct buf *out, struct err *err)
{
    struct msg_factor_result factor[APPRAISE_LEAVES_MAX];
    for (size_t i = 0; i < d->verdict.count; i++) {
        struct appraise_leaf *l = &d->verdict.leaf[i];
        factor[i] = (struct msg_factor_result){.name = printable(l->name),
                                               .met = l->met ? 1 : 0,
                                               .expected = printable(l->expected),
                                               .actual = printable(l->actual)};
    }
    struct message m = {.type = MESSAGE_EXPLAIN,
                        .explain = {.denial_id = BYTES_OF(d->id),
                                    .time_ms = d->time_ms,
                                    .code = err_wire(d->why.code),
                                    .device = printable(d->device),
                                    .address = printable(d->address),
                                    .text = printable(d->why.text),
                                    .stage = d->stage,
                                    .slot = d->slot,
                                    .entry_index = entry_index,
                                    .factors = {factor, d->verdict.count},
                                    .walk_id = d->has_walk ? BYTES_OF(d->walk_id) : BYTES_NONE}};
    return message_pack(&m, out, err);
}

static bool find_first(void *arg, struct bytes key, struct bytes value)
{
    struct buf *first = arg;
    (void)value;
    buf_put(first, key);
    return false;
}

static int make_room(struct store_txn *t, struct err *err)
{
    struct buf first;
    uint64_t count = 0;
    buf_init(&first, DENIAL_ID_LEN);
    int rc = store_count(t, STORE_DENIALS, &count);
    if (rc == 0 && count >= DENIALS_MAX)
        rc = store_scan(t, STORE_DENIALS, BYTES_NONE, find_first, &first);
    if (rc == 0 && first.len > 0)
        rc = store_delete(t, STORE_DENIALS, buf_view(&first));
    buf_done(&first);
    return rc == 0 ? 0 : err_set(err, rc, "the table of denials: %s", err_advice_text(rc));
}

static int put_record(struct denial *d, struct store_txn *t, uint64_t entry_index, struct err *err)
{
    struct buf record;
    TRY(make_room(t, err));
    buf_init(&record, RECORD_MAX);
    int rc = pack_record(d, entry_index, &record, err);
    if (rc == 0)
        rc = store_put(t, STORE_DENIALS, BYTES_OF(d->id), buf_view(&record), true, err);
    buf_done(&record);
    return rc;
}

static int with_entry(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms,
                      struct err *err)
{
    struct denial *d = a->arg;
    (void)time_ms;
    return d->has_record ? put_record(d, t, entry_index, err) : 0;
}

static void answer(struct denial *d, bool with_id)
{
    denial_done done = d->done;
    d->done = NULL;
    if (done != NULL)
        done(d->arg, with_id && d->has_record ? BYTES_OF(d->id) : BYTES_NONE);
}

static void on_appended(struct log_append *a, const struct err *err)
{
    struct denial *d = a->arg;
    /* ERR_TOKEN: durable, the signature follows; the record is there all the same. */
    answer(d, err == NULL || err->code == ERR_TOKEN);
    free(d);
}

static struct source *find_source(struct denials *d, const uint8_t address[16], uint64_t minute)
{
    struct source *oldest = NULL;
    for (size_t i = 0; i < d->source_count; i++) {
        struct source *s = &d->source[i];
        if (memcmp(s->address, address, 16) == 0)
            return s;
        if (s->unwritten == 0 && (oldest == NULL || s->minute < oldest->minute))
            oldest = s;
    }
    if (d->source_count < DENIAL_SOURCES_MAX)
        oldest = &d->source[d->source_count++];
    if (oldest != NULL) {
        *oldest = (struct source){.minute = minute};
        memcpy(oldest->address, address, 16);
    }
    return oldest;
}

/* True when this refusal gets an entry of its own. */
static bool own_entry(struct denials *d, const struct denial_facts *f, uint64_t now_ms)
{
    struct source *s = find_source(d, f->address, now_ms / 60000u);
    if (s == NULL)
        return false; /* a thousand busy sources: nothing is written for new ones, the counter shows it */
    if (s->minute != now_ms / 60000u) {
        s->minute = now_ms / 60000u;
        s->count = 0;
    }
    s->last_code = f->why->code;
    if (s->count++ < DENIALS_PER_SOURCE)
        return true;
    s->unwritten++;
    return false;
}

static void fill(struct denial *d, const struct denial_facts *f)
{
    d->why = *f->why;
    d->stage = f->stage;
    d->slot = f->slot;
    (void)snprintf(d->address, sizeof(d->address), "%.63s", f->address_text);
    (void)snprintf(d->device, sizeof(d->device), "%.64s", f->device);
    if (f->verdict != NULL)
        d->verdict = *f->verdict;
    if (f->walk_id != NULL) {
        d->has_walk = true;
        memcpy(d->walk_id, f->walk_id, WALK_ID_LEN);
        d->append.entry.walk_id = BYTES_OF(d->walk_id);
    }
    if (f->policy_hash != NULL) {
        memcpy(d->policy_hash, f->policy_hash, HASH_LEN);
        d->append.entry.policy_hash = BYTES_OF(d->policy_hash);
    }
    d->append.entry.type = ENTRY_DENY;
    d->append.entry.code = err_wire(f->why->code);
    d->append.with = with_entry;
    d->append.done = on_appended;
    d->append.arg = d;
}

/* 48 bits of time, 80 of chance. */
static int make_id(const struct node *n, uint64_t now_ms, uint8_t ret[DENIAL_ID_LEN])
{
    for (size_t i = 0; i < 6; i++)
        ret[i] = (uint8_t)(now_ms >> (40 - 8 * i));
    return n->rng.fill(n->rng.arg, ret + 6, DENIAL_ID_LEN - 6);
}

void denial_write(struct denials *d, const struct denial_facts *f, denial_done done, void *arg)
{
    struct node *n = d->node;
    uint64_t now_ms = n->clock.now_ms(n->clock.arg);
    n->counters.denials++;
    struct denial *one = own_entry(d, f, now_ms) && n->log != NULL ? calloc(1, sizeof(*one)) : NULL;
    if (one == NULL || make_id(n, now_ms, one->id) != 0) {
        free(one);
        done(arg, BYTES_NONE);
        return;
    }
    one->owner = d;
    one->time_ms = now_ms;
    one->has_record = true;
    one->done = done;
    one->arg = arg;
    fill(one, f);
    bool wait = f->why->code != ERR_STORAGE && strcmp(n->token->health(n->token), "ok") == 0;
    if (node_log_append(n->log, &one->append) != 0) {
        answer(one, false);
        free(one);
    } else if (!wait)
        answer(one, true);
}

static void write_counted(struct denials *d, struct source *s)
{
    struct denial *one = calloc(1, sizeof(*one));
    if (one == NULL || d->node->log == NULL) {
        free(one);
        return;
    }
    one->owner = d;
    one->append.entry = (struct msg_entry){.type = ENTRY_DENY, .code = err_wire(s->last_code), .count = s->unwritten};
    one->append.with = with_entry;
    one->append.done = on_appended;
    one->append.arg = one;
    if (node_log_append(d->node->log, &one->append) == 0)
        s->unwritten = 0;
    else
        free(one);
}

struct sweep {
    struct worker_job job;
    struct denials *owner;
    uint64_t before_ms;
    unsigned found;
    uint8_t id[SWEEP_MOST][DENIAL_ID_LEN];
};

static bool find_old(void *arg, struct bytes key, struct bytes value)
{
    struct sweep *s = arg;
    uint64_t time_ms = 0;
    (void)value;
    for (size_t i = 0; i < 6 && key.len == DENIAL_ID_LEN; i++)
        time_ms = time_ms << 8 | key.p[i];
    if (key.len != DENIAL_ID_LEN || time_ms >= s->before_ms)
        return false; /* all that follow are younger */
    memcpy(s->id[s->found++], key.p, DENIAL_ID_LEN);
    return s->found < SWEEP_MOST;
}

static void sweep_run(struct worker_job *job)
{
    struct sweep *s = (struct sweep *)job;
    struct store_txn *t = NULL;
    struct err err;
    if (store_begin(s->owner->node->store, true, &t, &err) != 0)
        return;
    int rc = store_scan(t, STORE_DENIALS, BYTES_NONE, find_old, s);
    for (unsigned i = 0; i < s->found && rc == 0; i++)
        rc = store_delete(t, STORE_DENIALS, BYTES_OF(s->id[i]));
    if (rc != 0 || s->found == 0)
        store_abort(t);
    else if (store_commit(t, &err) != 0)
        return;
}

static void sweep_done(struct worker_job *job, bool cancelled)
{
    struct sweep *s = (struct sweep *)job;
    (void)cancelled;
    s->owner->sweeping = false;
    free(s);
}

void denials_tick(struct denials *d)
{
    for (size_t i = 0; i < d->source_count; i++)
        if (d->source[i].unwritten > 0)
            write_counted(d, &d->source[i]);
    struct sweep *s = d->sweeping ? NULL : calloc(1, sizeof(*s));
    if (s == NULL)
        return;
    uint64_t keep = (uint64_t)d->node->config->denial_days * DAY_MS, now = d->node->clock.now_ms(d->node->clock.arg);
    *s = (struct sweep){
        .job = {.run = sweep_run, .done = sweep_done}, .owner = d, .before_ms = now > keep ? now - keep : 0};
    d->sweeping = worker_submit(d->node->store_thread, &s->job) == 0;
    if (!d->sweeping)
        free(s);
}

int denial_find(struct store_txn *t, struct bytes denial_id, struct bytes *ret_explain)
{
    return store_get(t, STORE_DENIALS, denial_id, ret_explain);
}
