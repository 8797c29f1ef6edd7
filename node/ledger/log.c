/* log: groups of appends into the store, a signature over each, receipts out.
 *
 * Two machines that overlap: the writer (one job at a time on the store thread) and the signer (one question at a time
 * at the token). An append is an item that moves from list to list:
 *
 *            step()              job_done()            ask()             on_signature()
 *   queue ───────────► job.group ─────┬──► signing ────────► (token) ─────────────► done
 *                                     │                          │ fails
 *                                     └──► waiting ◄─────────────┘      a job that prepares takes waiting as
 * job.covered
 *
 * A job that prepares reads back what was committed, compares the root and makes the proofs for everything that the
 * signature will cover. When the token is still busy with the last question by then, this was in vain and is done again
 * later. */
#include "node/ledger/log.h"
#include "common/ledger/entry.h"
#include "node/ledger/tree.h"
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ASK_DEADLINE_MS 2000u
#define PREPARE_AHEAD_MAX 256u /* items to prepare for while the token is busy */

enum item_state { ITEM_NEW, ITEM_WRITTEN, ITEM_PROVEN, ITEM_FAILED };

struct item {
    struct log_append *a;
    struct item *next;
    bool receipt_only; /* the entry is there already */
    enum item_state state;
    uint64_t index, since_ms; /* monotonic */
    struct buf entry;
    uint8_t (*proof)[HASH_LEN];
    unsigned proof_count;
    struct err err;
};

struct list {
    struct item *first, *last;
    size_t count;
};

enum log_state { LOG_STARTING, LOG_OPEN, LOG_FAILED, LOG_STOPPING, LOG_CLOSING };

struct job {
    struct worker_job worker;
    bool in_flight, prepare, save, prepared, refused; /* refused: only the group's own writing failed */
    struct list group, covered;
    uint64_t now_ms;
    struct checkpoint head; /* newest signed one when the job began */
    struct buf note;        /* its note */
    uint64_t size;          /* what was prepared for signing */
    uint8_t root[HASH_LEN];
    struct err err; /* of the preparation or of saving */
};

struct node_log {
    struct store *store;
    struct worker_pool *store_thread;
    struct token *token;
    struct clock clock;
    struct note_key key;
    enum log_state state;
    struct err broken; /* code 0: sound */

    struct tree tree; /* the job's while it is in flight */
    bool reload;      /* likewise */
    struct job job;

    struct list queue, waiting, signing;
    size_t items; /* in all lists */
    bool asking;
    uint64_t ask_size, retry_at_ms, started_ms;
    uint8_t ask_root[HASH_LEN];
    struct err sign_err; /* why the last question failed */

    uint64_t committed, last_ms;
    struct checkpoint head;
    struct buf head_note;
    bool head_unsaved;
    size_t reads;

    void (*ready)(void *arg, const struct err *err);
    void *ready_arg;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

static void step(struct node_log *l);

static uint64_t monotonic(const struct node_log *l)
{
    return l->clock.monotonic_ms(l->clock.arg);
}

/* ---- items and lists */

static void push(struct list *list, struct item *item)
{
    item->next = NULL;
    if (list->last != NULL)
        list->last->next = item;
    else
        list->first = item;
    list->last = item;
    list->count++;
}

static struct item *pop(struct list *list)
{
    struct item *item = list->first;
    if (item == NULL)
        return NULL;
    list->first = item->next;
    if (list->first == NULL)
        list->last = NULL;
    list->count--;
    return item;
}

/* Everything of `from` in front of what is in `to`. */
static void move_front(struct list *to, struct list *from)
{
    if (from->first == NULL)
        return;
    from->last->next = to->first;
    if (to->last == NULL)
        to->last = from->last;
    to->first = from->first;
    to->count += from->count;
    *from = (struct list){NULL, NULL, 0};
}

static void item_free(struct item *item)
{
    buf_done(&item->entry);
    free(item->proof);
    free(item);
}

/* done may do anything but free the log: append again, ask for a receipt, stop. */
static void finish(struct node_log *l, struct item *item, const struct err *err)
{
    struct log_append *a = item->a;
    a->entry_index = item->index;
    l->items--;
    a->done(a, err);
    item_free(item);
}

static void finish_signed(struct node_log *l, struct item *item, struct bytes note)
{
    struct buf receipt;
    const struct err nomem = {ERR_NOMEM, "no memory for a receipt"};
    assert(item->proof != NULL && item->entry.len > 0); /* nobody is told of what was not proven */
    buf_init(&receipt, RECEIPT_MAX);
    receipt_make(item->index, (const uint8_t(*)[HASH_LEN])item->proof, item->proof_count, note, &receipt);
    item->a->entry_bytes = buf_view(&item->entry);
    item->a->receipt = buf_view(&receipt);
    finish(l, item, buf_ok(&receipt) ? NULL : &nomem);
    buf_done(&receipt);
}

static void finish_all(struct node_log *l, struct list *list, const struct err *err)
{
    struct list now = *list;
    *list = (struct list){NULL, NULL, 0};
    for (struct item *item; (item = pop(&now)) != NULL;)
        finish(l, item, err);
}

/* The head cannot change before this returns: answers of the token come from the loop. */
static void finish_all_signed(struct node_log *l, struct list *list)
{
    struct list now = *list;
    *list = (struct list){NULL, NULL, 0};
    for (struct item *item; (item = pop(&now)) != NULL;)
        finish_signed(l, item, buf_view(&l->head_note));
}

static void drop_all(struct node_log *l)
{
    finish_all(l, &l->queue, &l->broken);
    finish_all(l, &l->waiting, &l->broken);
    finish_all(l, &l->signing, &l->broken);
}

/* ---- on the store thread: one job */

static void fail(struct item *item, int code, const struct err *err)
{
    item->state = ITEM_FAILED;
    if (err != NULL)
        item->err = *err;
    if (item->err.text[0] == '\0')
        (void)err_set(&item->err, code, "%s", err_advice_text(code));
    item->err.code = code;
}

static int write_bytes(struct node_log *l, struct item *item, struct store_txn *txn, uint64_t time_ms)
{
    struct log_append *a = item->a;
    struct msg_entry e = a->entry;
    item->index = l->tree.range.size;
    e.index = item->index;
    e.time_ms = time_ms;
    if (a->with != NULL)
        TRY(a->with(a, txn, item->index, time_ms, &item->err));
    TRY(entry_make(&e, &item->entry, &item->err));
    return tree_write(&l->tree, txn, buf_view(&item->entry), &item->err);
}

/* A refused append leaves nothing behind; only a storage error ends the group. */
static int write_item(struct node_log *l, struct item *item, struct store_txn *group, uint64_t time_ms)
{
    struct store_txn *txn = NULL;
    struct merkle_range before = l->tree.range;
    int rc = store_begin_nested(group, &txn, &item->err);
    if (rc == 0) {
        rc = write_bytes(l, item, txn, time_ms);
        if (rc == 0)
            rc = store_commit(txn, &item->err);
        else
            store_abort(txn);
    }
    if (rc == 0) {
        item->state = ITEM_WRITTEN;
        return 0;
    }
    l->tree.range = before;
    l->reload = l->reload || rc == ERR_INTEGRITY; /* the disk may hold more than this process knows */
    fail(item, rc, NULL);
    return store_is_dead(group) ? ERR_STORAGE : 0;
}

static int write_all(struct node_log *l, struct store_txn *txn, uint64_t time_ms, size_t *ret_written, struct err *err)
{
    struct job *j = &l->job;
    if (j->save)
        TRY(tree_put_checkpoint(txn, j->head.size, buf_view(&j->note), err));
    for (struct item *item = j->group.first; item != NULL; item = item->next) {
        if (item->receipt_only)
            continue;
        if (write_item(l, item, txn, time_ms) != 0) {
            *err = item->err;
            return ERR_STORAGE;
        }
        *ret_written += item->state == ITEM_WRITTEN;
    }
    return 0;
}

/* One transaction for the whole group. On failure nothing counts as written and the disk is asked what it holds. */
static int write_group(struct node_log *l, struct err *err)
{
    struct job *j = &l->job;
    struct store_txn *txn = NULL;
    struct merkle_range before = l->tree.range;
    uint64_t time_ms = j->now_ms > l->tree.last_ms ? j->now_ms : l->tree.last_ms;
    size_t written = 0;
    TRY(store_begin(l->store, true, &txn, err));
    int rc = write_all(l, txn, time_ms, &written, err);
    if (rc == 0 && (written > 0 || j->save))
        rc = store_commit(txn, err);
    else
        store_abort(txn);
    if (rc == 0 && written > 0)
        l->tree.last_ms = time_ms;
    if (rc != 0) {
        l->tree.range = before;
        l->reload = true;
    }
    return rc;
}

static int prove(struct store_txn *txn, struct item *item, uint64_t size)
{
    uint8_t proof[MERKLE_PROOF_MAX][HASH_LEN];
    unsigned count = 0;
    struct bytes entry;
    TRY(tree_prove(txn, item->index, size, proof, &count));
    if (item->entry.len == 0) {
        TRY(tree_entry(txn, item->index, &entry));
        buf_put(&item->entry, entry);
    }
    free(item->proof);
    item->proof = calloc(count > 0 ? count : 1, HASH_LEN);
    if (item->proof == NULL || !buf_ok(&item->entry))
        return ERR_NOMEM;
    memcpy(item->proof, proof, (size_t)count * HASH_LEN);
    item->proof_count = count;
    return 0;
}

/* Receipts for entries that are signed already; for others there is the next signature. */
static void look_up(struct node_log *l, struct store_txn *txn, struct item *item)
{
    const struct job *j = &l->job;
    if (item->index >= l->tree.range.size) {
        fail(item, ERR_NOT_FOUND, NULL);
        return;
    }
    item->state = ITEM_WRITTEN;
    if (item->index >= j->head.size)
        return;
    int rc = prove(txn, item, j->head.size);
    if (rc != 0)
        fail(item, rc, NULL);
    else
        item->state = ITEM_PROVEN;
}

static int prepare(struct node_log *l, struct store_txn *txn, struct err *err)
{
    struct job *j = &l->job;
    TRY(tree_verify(&l->tree, txn, err));
    j->size = l->tree.range.size;
    merkle_range_root(&l->tree.range, j->root);
    struct list *lists[] = {&j->covered, &j->group};
    for (size_t i = 0; i < 2; i++)
        for (struct item *item = lists[i]->first; item != NULL; item = item->next) {
            int rc = item->state == ITEM_WRITTEN ? prove(txn, item, j->size) : 0;
            if (rc != 0)
                return err_set(err, rc, "entry %" PRIu64 " cannot be proven", item->index);
        }
    j->prepared = true;
    return 0;
}

static int read_back(struct node_log *l, struct err *err)
{
    struct job *j = &l->job;
    struct store_txn *txn = NULL;
    int rc = store_begin(l->store, false, &txn, err);
    for (struct item *item = j->group.first; item != NULL; item = item->next)
        if (item->receipt_only && rc == 0)
            look_up(l, txn, item);
        else if (item->receipt_only)
            fail(item, rc, err);
    TRY(rc);
    rc = j->prepare ? prepare(l, txn, err) : 0;
    if (rc == ERR_STORAGE)
        l->reload = true;
    store_abort(txn);
    return rc;
}

static bool has_writes(const struct list *list)
{
    const struct item *item = list->first;
    while (item != NULL && item->receipt_only)
        item = item->next;
    return item != NULL;
}

static void job_run(struct worker_job *worker)
{
    struct node_log *l = (struct node_log *)((char *)worker - offsetof(struct node_log, job.worker));
    struct job *j = &l->job;
    int rc = l->reload ? tree_reload(&l->tree, &j->err) : 0;
    if (rc == 0) {
        l->reload = false;
        rc = j->save || has_writes(&j->group) ? write_group(l, &j->err) : 0;
        j->refused = rc != 0;
    }
    if (rc != 0) {
        for (struct item *item = j->group.first; item != NULL; item = item->next)
            if (item->state != ITEM_FAILED)
                fail(item, rc, &j->err);
        return;
    }
    rc = read_back(l, &j->err);
    if (rc != 0 && j->err.code == 0)
        (void)err_set(&j->err, rc, "%s", err_advice_text(rc));
}

/* ---- on the loop: the writer */

static void ask(struct node_log *l);

static void become_ready(struct node_log *l, const struct err *err)
{
    l->state = err == NULL ? LOG_OPEN : LOG_FAILED;
    l->ready(l->ready_arg, err);
}

/* What the job made of its items: done with the failed and the proven, the rest waits for a signature. */
static void sort_group(struct node_log *l, struct list *group, struct list *unsigned_, struct bytes note,
                       bool cancelled)
{
    const struct err closed = {ERR_CLOSED, "the log is stopping"};
    for (struct item *item; (item = pop(group)) != NULL;) {
        if (cancelled)
            finish(l, item, &closed);
        else if (item->state == ITEM_FAILED)
            finish(l, item, &item->err);
        else if (item->state == ITEM_PROVEN)
            finish_signed(l, item, note);
        else
            push(unsigned_, item);
    }
}

static void job_failed(struct node_log *l, const struct err *err)
{
    if (err->code == ERR_INTEGRITY || store_is_stuck(l->store))
        l->broken = *err;
    if (l->job.refused)
        return;
    l->retry_at_ms = monotonic(l) + LOG_RETRY_MS;
    l->sign_err = *err;
}

static bool may_ask(const struct node_log *l)
{
    return !l->asking && l->broken.code == 0 && monotonic(l) >= l->retry_at_ms;
}

static void job_done(struct worker_job *worker, bool cancelled)
{
    struct node_log *l = (struct node_log *)((char *)worker - offsetof(struct node_log, job.worker));
    struct job j = l->job; /* a copy: what is done may lead to the next job */
    struct list rest = j.covered;
    l->job.in_flight = false;
    l->committed = l->tree.range.size;
    l->last_ms = l->tree.last_ms;
    l->head_unsaved = l->head_unsaved || (j.save && (j.err.code != 0 || cancelled));
    if (j.err.code != 0)
        job_failed(l, &j.err);
    bool asks = j.prepared && !cancelled && may_ask(l);
    if (asks) {
        l->asking = true;
        l->ask_size = j.size;
        memcpy(l->ask_root, j.root, HASH_LEN);
    }
    sort_group(l, &j.group, &rest, buf_view(&j.note), cancelled);
    buf_done(&j.note);
    struct list *to = asks ? &l->signing : &l->waiting;
    for (struct item *item; (item = pop(&rest)) != NULL;)
        push(to, item);
    if (asks)
        ask(l);
    if (l->broken.code != 0)
        drop_all(l);
    step(l);
}

/* A job that changes or reads something, with what is in the lists now. False: the store thread's queue is full. */
static bool submit(struct node_log *l, bool prepares, bool saves)
{
    struct job *j = &l->job;
    *j = (struct job){.worker = {.run = job_run, .done = job_done},
                      .in_flight = true,
                      .prepare = prepares,
                      .save = saves,
                      .group = l->queue,
                      .now_ms = l->clock.now_ms(l->clock.arg),
                      .head = l->head};
    buf_init(&j->note, CHECKPOINT_MAX);
    buf_put(&j->note, buf_view(&l->head_note));
    l->queue = (struct list){NULL, NULL, 0};
    if (prepares) {
        j->covered = l->waiting;
        l->waiting = (struct list){NULL, NULL, 0};
    }
    if (buf_ok(&j->note) && worker_submit(l->store_thread, &j->worker) == 0) {
        l->head_unsaved = l->head_unsaved && !saves;
        return true;
    }
    j->in_flight = false;
    buf_done(&j->note);
    move_front(&l->queue, &j->group);
    move_front(&l->waiting, &j->covered);
    return false;
}

static void close_log(struct node_log *l);

static void step(struct node_log *l)
{
    if (l->job.in_flight || l->state == LOG_CLOSING)
        return;
    bool drained = l->queue.count == 0 && l->waiting.count == 0 && !l->asking && l->reads == 0;
    if (l->state == LOG_STOPPING && drained) {
        close_log(l);
        return;
    }
    if (l->state == LOG_FAILED || l->broken.code != 0)
        return;
    bool has_queue = l->queue.count > 0;
    bool prepares = may_ask(l) ? has_queue || l->waiting.count > 0 || l->committed > l->head.size
                               : has_queue && l->asking && l->queue.count + l->waiting.count <= PREPARE_AHEAD_MAX;
    if (has_queue || prepares)
        (void)submit(l, prepares, l->head_unsaved && has_writes(&l->queue)); /* when full, node_log_tick tries again */
}

/* ---- the signer */

static void sign_failed(struct node_log *l, const struct err *err)
{
    l->asking = false;
    l->sign_err = *err;
    l->retry_at_ms = monotonic(l) + LOG_RETRY_MS;
    move_front(&l->waiting, &l->signing);
}

static void signed_now(struct node_log *l)
{
    l->asking = false;
    finish_all_signed(l, &l->signing);
    if (l->state == LOG_STARTING)
        become_ready(l, NULL);
}

/* Nothing that the token says is used before the public key has confirmed it. */
static int check_signature(struct node_log *l, const struct message *reply, struct buf *ret_note, struct err *err)
{
    struct checkpoint c = {.size = l->ask_size}, opened;
    struct buf text;
    if (reply->type != MESSAGE_TOKEN_SIGNATURE || reply->token_signature.signature.len != ED25519_SIGNATURE_LEN)
        return err_set(err, ERR_TOKEN, "the token answered something that is no signature");
    memcpy(c.origin, l->key.name, sizeof(c.origin));
    memcpy(c.root, l->ask_root, HASH_LEN);
    buf_init(&text, CHECKPOINT_MAX);
    checkpoint_text(&c, &text);
    int rc = buf_ok(&text) ? note_add(buf_view(&text), &l->key, reply->token_signature.signature.p, ret_note, err)
                           : ERR_NOMEM;
    buf_done(&text);
    if (rc != 0 || !buf_ok(ret_note))
        return err_set(err, ERR_NOMEM, "no memory for a checkpoint");
    if (checkpoint_open(buf_view(ret_note), &l->key, &opened, err) != 0)
        return err_set(err, ERR_TOKEN, "the token's signature does not hold under %s", l->key.name);
    return 0;
}

static void on_signature(void *arg, const struct message *reply, const struct err *err)
{
    struct node_log *l = arg;
    struct buf note;
    struct err why = {0};
    buf_init(&note, CHECKPOINT_MAX);
    int rc = reply != NULL ? check_signature(l, reply, &note, &why) : ERR_TOKEN;
    if (reply == NULL)
        why = *err;
    if (rc != 0) {
        buf_done(&note);
        sign_failed(l, &why);
    } else {
        buf_done(&l->head_note);
        l->head_note = note;
        l->head.size = l->ask_size;
        memcpy(l->head.root, l->ask_root, HASH_LEN);
        l->head_unsaved = true;
        l->sign_err = (struct err){.code = 0};
        signed_now(l);
    }
    step(l);
}

static void ask(struct node_log *l)
{
    if (l->ask_size == l->head.size) { /* only receipts were waiting */
        signed_now(l);
        return;
    }
    struct message m = {.type = MESSAGE_TOKEN_SIGN, .token_sign = {.size = l->ask_size, .root = BYTES_OF(l->ask_root)}};
    int rc = l->token->ask(l->token, &m, ASK_DEADLINE_MS, on_signature, l);
    if (rc != 0) {
        struct err err = {.code = 0};
        (void)err_set(&err, rc, "%s", err_advice_text(rc));
        sign_failed(l, &err);
    }
}

static const char *why_unsigned(const struct node_log *l)
{
    return l->sign_err.code != 0 ? l->sign_err.text : "the token does not answer";
}

/* Those that have waited too long; their entries stay and are signed later. */
static void expire(struct node_log *l, struct list *list, uint64_t now_ms)
{
    struct list keep = {NULL, NULL, 0}, late = {NULL, NULL, 0};
    for (struct item *item; (item = pop(list)) != NULL;)
        push(now_ms - item->since_ms > LOG_SIGN_WAIT_MS ? &late : &keep, item);
    *list = keep;
    for (struct item *item; (item = pop(&late)) != NULL;) {
        struct err err = {.code = 0};
        (void)err_set(&err, ERR_TOKEN, "entry %" PRIu64 " is written, but its checkpoint is not signed yet: %s",
                      item->index, why_unsigned(l));
        finish(l, item, &err);
    }
}

void node_log_tick(struct node_log *l)
{
    uint64_t now_ms = monotonic(l);
    if (l->state == LOG_CLOSING)
        return;
    expire(l, &l->waiting, now_ms);
    expire(l, &l->signing, now_ms);
    if (l->state == LOG_STARTING && !l->job.in_flight && now_ms - l->started_ms > LOG_SIGN_WAIT_MS) {
        struct err err = {.code = 0};
        (void)err_set(&err, ERR_TOKEN, "entries of an earlier run are not signed yet: %s", why_unsigned(l));
        become_ready(l, &err);
    }
    step(l);
    bool usable = l->state == LOG_OPEN && l->broken.code == 0;
    if (usable && l->head_unsaved && !l->job.in_flight)
        (void)submit(l, false, true);
}

/* ---- the owner's side */

static int add_item(struct node_log *l, struct log_append *a, bool receipt_only, uint64_t index)
{
    if (l->broken.code != 0)
        return ERR_INTEGRITY;
    if (l->state != LOG_OPEN || l->items >= LOG_QUEUE_MAX)
        return ERR_BUSY;
    struct item *item = calloc(1, sizeof(*item));
    if (item == NULL)
        return ERR_NOMEM;
    *item = (struct item){.a = a, .receipt_only = receipt_only, .index = index, .since_ms = monotonic(l)};
    buf_init(&item->entry, ENTRY_MAX);
    l->items++;
    push(&l->queue, item);
    step(l);
    return 0;
}

int node_log_append(struct node_log *l, struct log_append *a)
{
    return add_item(l, a, false, 0);
}

int node_log_receipt(struct node_log *l, struct log_append *a, uint64_t entry_index)
{
    return add_item(l, a, true, entry_index);
}

void node_log_head(const struct node_log *l, uint64_t *ret_size, uint8_t ret_root[HASH_LEN])
{
    *ret_size = l->head.size;
    memcpy(ret_root, l->head.root, HASH_LEN);
}

uint64_t node_log_last_time(const struct node_log *l)
{
    return l->last_ms;
}

const struct err *node_log_broken(const struct node_log *l)
{
    return l->broken.code != 0 ? &l->broken : NULL;
}

struct read {
    struct worker_job worker;
    struct node_log *log;
    uint64_t from, count;
    size_t *end; /* of each entry in data */
    struct buf data, note;
    size_t entry_count;
    void (*done)(void *arg, const struct message *entries, const struct err *err);
    void *arg;
    struct err err;
};

static bool read_one(void *arg, struct bytes key, struct bytes value)
{
    struct read *r = arg;
    (void)key; /* indexes have no gaps: checked at start */
    if (r->entry_count == r->count || value.len > LOG_READ_MAX - r->data.len)
        return false;
    buf_put(&r->data, value);
    r->end[r->entry_count++] = r->data.len;
    return buf_ok(&r->data);
}

static void read_run(struct worker_job *worker)
{
    struct read *r = (struct read *)worker;
    struct store_txn *txn = NULL;
    uint8_t key[8];
    if (store_begin(r->log->store, false, &txn, &r->err) != 0)
        return;
    tree_key(r->from, key);
    int rc = store_scan(txn, STORE_ENTRIES, BYTES_OF(key), read_one, r);
    if (rc == 0 && !buf_ok(&r->data))
        rc = ERR_NOMEM;
    if (rc != 0)
        (void)err_set(&r->err, rc, "the entries cannot be read");
    store_abort(txn);
}

static void read_free(struct read *r)
{
    buf_done(&r->data);
    buf_done(&r->note);
    free(r->end);
    free(r);
}

static int read_answer(struct read *r)
{
    struct msg_entry_bytes *at = calloc(r->entry_count + 1, sizeof(*at));
    if (at == NULL)
        return err_set(&r->err, ERR_NOMEM, "no memory for the entries");
    for (size_t i = 0; i < r->entry_count; i++) {
        size_t begin = i > 0 ? r->end[i - 1] : 0;
        at[i].entry = BYTES(r->data.p + begin, r->end[i] - begin);
    }
    const struct message m = {
        .type = MESSAGE_ENTRIES,
        .entries = {.from = r->from, .entries = {at, r->entry_count}, .checkpoint = buf_view(&r->note)}};
    r->done(r->arg, &m, NULL);
    free(at);
    return 0;
}

static void read_done(struct worker_job *worker, bool cancelled)
{
    struct read *r = (struct read *)worker;
    struct node_log *l = r->log;
    if (cancelled)
        (void)err_set(&r->err, ERR_CLOSED, "the log is stopping");
    if (r->err.code != 0 || read_answer(r) != 0)
        r->done(r->arg, NULL, &r->err);
    read_free(r);
    l->reads--;
    step(l);
}

int node_log_read(struct node_log *l, uint64_t from, uint64_t count,
                  void (*done)(void *arg, const struct message *entries, const struct err *err), void *arg)
{
    if (l->state != LOG_OPEN)
        return ERR_BUSY;
    struct read *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NOMEM;
    *r = (struct read){.worker = {.run = read_run, .done = read_done},
                       .log = l,
                       .from = from,
                       .count = count < LOG_READ_COUNT_MAX ? count : LOG_READ_COUNT_MAX,
                       .done = done,
                       .arg = arg};
    r->end = calloc(r->count + 1, sizeof(*r->end));
    buf_init(&r->data, LOG_READ_MAX);
    buf_init(&r->note, CHECKPOINT_MAX);
    buf_put(&r->note, buf_view(&l->head_note));
    int rc = r->end != NULL && buf_ok(&r->note) ? 0 : ERR_NOMEM;
    if (rc == 0)
        rc = worker_submit(l->store_thread, &r->worker) == 0 ? 0 : ERR_BUSY;
    if (rc != 0)
        read_free(r);
    else
        l->reads++;
    return rc;
}

/* ---- start and stop */

static void start_run(struct worker_job *worker)
{
    struct node_log *l = (struct node_log *)((char *)worker - offsetof(struct node_log, job.worker));
    (void)!tree_load(&l->tree, l->store, &l->key, &l->head, &l->head_note, &l->job.err);
}

static void start_done(struct worker_job *worker, bool cancelled)
{
    struct node_log *l = (struct node_log *)((char *)worker - offsetof(struct node_log, job.worker));
    struct err err = l->job.err;
    l->job.in_flight = false;
    l->committed = l->tree.range.size;
    l->last_ms = l->tree.last_ms;
    l->started_ms = monotonic(l);
    if (cancelled)
        (void)err_set(&err, ERR_CLOSED, "the log is stopping");
    if (l->state == LOG_STARTING && err.code != 0)
        become_ready(l, &err);
    else if (l->state == LOG_STARTING && l->committed == l->head.size)
        become_ready(l, NULL);
    step(l);
}

int node_log_start(const struct node_log_settings *s, void (*ready)(void *arg, const struct err *err), void *arg,
                   struct node_log **ret, struct err *err)
{
    struct node_log *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return err_set(err, ERR_NOMEM, "no memory for the log");
    *l = (struct node_log){.store = s->store,
                           .store_thread = s->store_thread,
                           .token = s->token,
                           .clock = s->clock,
                           .key = s->key,
                           .ready = ready,
                           .ready_arg = arg};
    buf_init(&l->head_note, CHECKPOINT_MAX);
    struct buf origin;
    buf_init(&origin, NOTE_NAME_MAX);
    buf_printf(&origin, "%s/%s/log", s->network, s->node);
    bool named = buf_ok(&origin) && bytes_is(buf_view(&origin), l->key.name);
    buf_done(&origin);
    if (!named) {
        free(l);
        return err_set(err, ERR_KEYS, "the log key is named %s instead of %s/%s/log", s->key.name, s->network, s->node);
    }
    l->job.worker = (struct worker_job){.run = start_run, .done = start_done};
    l->job.in_flight = true;
    if (worker_submit(l->store_thread, &l->job.worker) != 0) {
        free(l);
        return err_set(err, ERR_FULL, "the store thread takes no more work");
    }
    *ret = l;
    return 0;
}

static void close_run(struct worker_job *worker)
{
    struct node_log *l = (struct node_log *)((char *)worker - offsetof(struct node_log, job.worker));
    struct store_txn *txn = NULL;
    struct err err;
    if (!l->head_unsaved || l->broken.code != 0 || store_begin(l->store, true, &txn, &err) != 0)
        return; /* it is signed again, with the same bytes, at the next start */
    if (tree_put_checkpoint(txn, l->head.size, buf_view(&l->head_note), &err) != 0)
        store_abort(txn);
    else
        (void)!store_commit(txn, &err);
}

static void close_done(struct worker_job *worker, bool cancelled)
{
    struct node_log *l = (struct node_log *)((char *)worker - offsetof(struct node_log, job.worker));
    void (*stopped)(void *arg) = l->stopped;
    void *arg = l->stopped_arg;
    (void)cancelled;
    assert(l->items == 0);
    buf_done(&l->head_note);
    free(l);
    stopped(arg);
}

static void close_log(struct node_log *l)
{
    l->job.worker = (struct worker_job){.run = close_run, .done = close_done};
    l->job.in_flight = true;
    l->state = LOG_CLOSING;
    if (worker_submit(l->store_thread, &l->job.worker) != 0) {
        l->job.in_flight = false;
        l->state = LOG_STOPPING;
    }
}

void node_log_stop(struct node_log *l, void (*stopped)(void *arg), void *arg)
{
    l->stopped = stopped;
    l->stopped_arg = arg;
    l->state = LOG_STOPPING;
    step(l);
}
