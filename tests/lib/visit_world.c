/* visit_world: a door for tests: documents, store, log, a token that waits to be told. */
#include "tests/lib/visit_world.h"
#include "common/ledger/entry.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAP_BYTES ((size_t)256 << 20)

/* ---- trace */

static void say(struct visit_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct visit_world *w, const char *format, ...)
{
    size_t used = strlen(w->trace);
    used += (size_t)snprintf(w->trace + used, sizeof(w->trace) - used, "[%5u] n1 > ",
                             (unsigned)(w->log.monotonic_ms - w->opened_ms));
    va_list ap;
    va_start(ap, format);
    used += (size_t)vsnprintf(w->trace + used, sizeof(w->trace) - used, format, ap);
    va_end(ap);
    assert(used + 2 < sizeof(w->trace));
    memcpy(w->trace + used, "\n", 2);
}

bool trace_is(struct visit_world *w, const char *lines)
{
    bool same = strcmp(w->trace, lines) == 0;
    if (!same)
        (void)fprintf(stderr, "the trace is\n%sinstead of\n%s", w->trace, lines);
    w->trace[0] = '\0';
    return same;
}

/* ---- the token */

static void give_answer(struct visit_world *w, size_t i)
{
    uint8_t share[SEALED_LEN];
    memset(share, 0x5a, sizeof(share));
    struct message m = {.type = MESSAGE_TOKEN_ANSWER, .token_answer = {.answer = BYTES_OF(share)}};
    w->question[i].done(w->question[i].arg, &m, NULL);
}

void visit_world_answer(struct visit_world *w)
{
    size_t count = w->question_count;
    w->question_count = 0;
    for (size_t i = 0; i < count; i++)
        give_answer(w, i);
}

static void answer_soon(uv_idle_t *idle)
{
    struct visit_world *w = idle->data;
    (void)uv_idle_stop(idle);
    if (!w->token_holds)
        visit_world_answer(w);
}

static int ask(struct token *t, struct message *m, unsigned deadline_ms, token_done done, void *arg)
{
    struct visit_world *w = t->self;
    (void)deadline_ms;
    assert(m->type == MESSAGE_TOKEN_RELEASE);
    if (w->token_away)
        return ERR_TOKEN;
    if (w->question_count == QUESTIONS_MAX)
        return ERR_BUSY;
    w->releases_asked++;
    w->question[w->question_count].done = done;
    w->question[w->question_count++].arg = arg;
    (void)uv_idle_start(&w->idle, answer_soon);
    return 0;
}

static const char *health(const struct token *t)
{
    const struct visit_world *w = t->self;
    return w->token_away || w->log.mode != TOKEN_SIGNS ? "absent" : "ok";
}

/* ---- documents */

static char *replace_hash(const char *text, const struct document *old, const struct document *now)
{
    char from[2 * HASH_LEN + 1], to[2 * HASH_LEN + 1];
    hex_encode(BYTES_OF(old->hash), from);
    hex_encode(BYTES_OF(now->hash), to);
    return network_replace(text, from, to);
}

static struct document *parsed(const char *text)
{
    struct document *d = NULL;
    struct err err = {.code = 0};
    if (document_parse(bytes_str(text), "test", &d, &err) != 0)
        (void)fprintf(stderr, "%s\n%s", err.text, text);
    assert(d != NULL);
    return d;
}

/* The network's policy with other factors at its first stage. */
static char *policy_with(const struct network *n, const char *factors)
{
    const char *begin = strstr(n->policy_text, "      all:\n"), *end = strstr(n->policy_text, "  - name: vault\n");
    size_t head = (size_t)(begin - n->policy_text), len = strlen(n->policy_text) + strlen(factors) + 1;
    char *text = malloc(len);
    assert(text != NULL);
    (void)snprintf(text, len, "%.*s%s%s", (int)head, n->policy_text, factors, end);
    return text;
}

static void make_documents(struct visit_world *w, const char *factors)
{
    const struct network *n = &w->net;
    w->policy_text = policy_with(n, factors);
    w->policy = parsed(w->policy_text);
    w->envelope_text = replace_hash(n->envelope_text, n->policy, w->policy);
    w->envelope = parsed(w->envelope_text);
    w->status_text = replace_hash(n->status_text, n->policy, w->policy);
    w->status = parsed(w->status_text);
    char *half = replace_hash(n->chain_text, n->policy, w->policy);
    w->chain_text = replace_hash(half, n->envelope, w->envelope);
    w->chain = parsed(w->chain_text);
    free(half);
}

void visit_world_offer(struct visit_world *w, const char *text, unsigned keys)
{
    enum shelf_outcome outcome;
    const struct document *d = NULL;
    struct err err = {.code = 0};
    char *note = network_sign(&w->net, text, keys);
    int rc = shelf_offer(w->node.shelf, bytes_str(note), "test", w->log.now_ms, &outcome, &d, &err);
    if (rc != 0)
        (void)fprintf(stderr, "%s\n%s", err.text, text);
    assert(rc == 0);
    free(note);
}

static void make_shelf(struct visit_world *w)
{
    const struct network *n = &w->net;
    int rc = shelf_new(NETWORK_NAME, n->root->hash, &w->node.shelf);
    assert(rc == 0);
    visit_world_offer(w, n->root_text, KEYS_ROOT);
    visit_world_offer(w, n->roster_text, KEY_BIT(KEY_ROSTER));
    visit_world_offer(w, n->inventory_text, KEY_BIT(KEY_INVENTORY));
    visit_world_offer(w, w->policy_text, KEY_BIT(KEY_POLICY) | KEY_BIT(KEY_OWNER));
    visit_world_offer(w, w->status_text, KEY_BIT(KEY_STATUS));
    visit_world_offer(w, w->envelope_text, KEY_BIT(KEY_OWNER));
}

void visit_world_status(struct visit_world *w, const char *section, const char *lines)
{
    char from[64], to[1024], version[64], next[64];
    const struct document *held = shelf_find(w->node.shelf, DOCUMENT_STATUS, BYTES_NONE);
    char *old = strndup((const char *)held->text.p, held->text.len);
    (void)snprintf(version, sizeof(version), "\nversion: %llu\n", (unsigned long long)held->version);
    (void)snprintf(next, sizeof(next), "\nversion: %llu\n", (unsigned long long)held->version + 1);
    (void)snprintf(from, sizeof(from), "%s\n", section);
    (void)snprintf(to, sizeof(to), "%s\n%s", section, lines);
    char *half = network_replace(old, version, next);
    char *text = network_replace(half, from, to);
    visit_world_offer(w, text, KEY_BIT(KEY_STATUS));
    free(old);
    free(half);
    free(text);
}

/* ---- open and close */

static uint64_t now_ms(void *arg)
{
    return ((struct world *)arg)->now_ms;
}

static uint64_t monotonic_ms(void *arg)
{
    return ((struct world *)arg)->monotonic_ms;
}

void visit_world_start(struct visit_world *w)
{
    int rc = world_open(&w->log, MAP_BYTES);
    assert(rc == 0);
    rc = worker_start(&w->log.loop, 2, 64, &w->workers);
    assert(rc == 0);
    (void)uv_idle_init(&w->log.loop, &w->idle);
    w->idle.data = w;
    w->token = (struct token){.ask = ask, .health = health, .self = w};
    w->node.store = w->log.store;
    w->node.workers = w->workers;
    w->node.store_thread = w->log.pool;
    w->node.token = &w->token;
    w->node.log = w->log.log;
    rc = denials_new(&w->node, &w->node.denials);
    assert(rc == 0);
}

void visit_world_prepare(struct visit_world *w, const char *factors)
{
    static const char standard[] = "      all:\n"
                                   "        - device: enrolled\n"
                                   "        - network: {cidrs: [\"127.0.0.0/8\"]}\n";
    memset(w, 0, sizeof(*w));
    network_init(&w->net);
    make_documents(w, factors != NULL ? factors : standard);
    world_folder(&w->log);
    w->log.now_ms = NETWORK_NOW_MS;
    w->opened_ms = w->log.monotonic_ms;
    w->config = (struct node_config){.network = NETWORK_NAME, .name = "n1", .hsm = true, .denial_days = 30};
    w->node = (struct node){.config = &w->config, .clock = {now_ms, monotonic_ms, &w->log}, .rng = rng_system()};
    const struct roster_node *me = roster_find(w->net.roster, bytes_str("n1"));
    memcpy(w->node.keys.kem, me->kem, EC_POINT_LEN);
    memcpy(w->node.keys.seal, me->seal, EC_POINT_LEN);
    memcpy(w->node.keys.peer, me->peer, EC_POINT_LEN);
    w->node.keys.profile = me->profile;
    ec_point_spki_hash(me->kem, w->node.keys.kem_hash);
    make_shelf(w);
}

void visit_world_open(struct visit_world *w, const char *factors)
{
    visit_world_prepare(w, factors);
    visit_world_start(w);
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
}

static void stop(struct visit_world *w)
{
    bool stopped = false;
    w->token_holds = false;
    w->log.mode = TOKEN_SIGNS;
    world_syncs_to_fail = 0;
    world_tick(&w->log, 2 * LOG_RETRY_MS);
    visit_world_answer(w);
    visit_world_empty(w);
    worker_stop(w->workers, on_stopped, &stopped);
    world_until(&w->log, &stopped);
    uv_close((uv_handle_t *)&w->idle, NULL);
    denials_free(w->node.denials);
    world_close(&w->log);
}

void visit_world_restart(struct visit_world *w)
{
    stop(w);
    visit_world_start(w);
}

void visit_world_close(struct visit_world *w)
{
    stop(w);
    shelf_free(w->node.shelf);
    struct document *documents[] = {w->policy, w->envelope, w->status, w->chain};
    char *texts[] = {w->policy_text, w->envelope_text, w->status_text, w->chain_text};
    for (size_t i = 0; i < 4; i++) {
        document_unref(documents[i]);
        free(texts[i]);
    }
    world_remove(&w->log);
    network_done(&w->net);
}

void visit_world_asked(struct visit_world *w)
{
    assert(w->token_holds);
    alarm(120);
    while (w->question_count == 0)
        uv_run(&w->log.loop, UV_RUN_ONCE);
}

void visit_world_empty(struct visit_world *w)
{
    alarm(120);
    while (w->node.visits != NULL)
        uv_run(&w->log.loop, UV_RUN_ONCE);
}

static void block_run(struct worker_job *job)
{
    struct visit_world *w = (struct visit_world *)((char *)job - offsetof(struct visit_world, block.job));
    uv_sem_wait(&w->block.sem);
}

static void block_done(struct worker_job *job, bool cancelled)
{
    struct visit_world *w = (struct visit_world *)((char *)job - offsetof(struct visit_world, block.job));
    (void)cancelled;
    w->block.done = true;
}

void visit_world_block(struct visit_world *w)
{
    w->block.job = (struct worker_job){.run = block_run, .done = block_done};
    w->block.done = false;
    int rc = uv_sem_init(&w->block.sem, 0);
    assert(rc == 0);
    rc = worker_submit(w->log.pool, &w->block.job);
    assert(rc == 0);
}

void visit_world_unblock(struct visit_world *w)
{
    uv_sem_post(&w->block.sem);
    world_until(&w->log, &w->block.done);
    uv_sem_destroy(&w->block.sem);
}

/* ---- guests */

static void keep(struct buf *to, struct bytes from)
{
    buf_done(to);
    buf_put(to, from);
}

static void hear_release(struct guest *g, const struct msg_release *r)
{
    struct checkpoint c = {.size = 0};
    struct err err = {.code = 0};
    struct message *m = NULL;
    uint64_t index = 0;
    int rc = receipt_verify(r->link.receipt, r->link.entry, &g->w->log.key, &index, &c, &err);
    assert(rc == 0);
    rc = entry_parse(r->link.entry, &m, &err);
    assert(rc == 0 && m->entry.type == ENTRY_GRANT && m->entry.index == index);
    message_free(m);
    keep(&g->body, r->link.body);
    keep(&g->entry, r->link.entry);
    keep(&g->receipt, r->link.receipt);
    keep(&g->answer, r->answer);
    say(g->w, "%s release entry %llu of %llu", g->name, (unsigned long long)index, (unsigned long long)c.size);
}

static void hear_list(struct guest *g, const char *what, const struct message *m)
{
    char words[256] = "";
    size_t used = 0;
    if (m->type == MESSAGE_CHALLENGE)
        for (size_t i = 0; i < m->challenge.factors.count; i++)
            used +=
                (size_t)snprintf(words + used, sizeof(words) - used, " %.*s", (int)m->challenge.factors.at[i].name.len,
                                 (const char *)m->challenge.factors.at[i].name.p);
    else
        for (size_t i = 0; i < m->need_documents.wants.count; i++)
            used += (size_t)snprintf(words + used, sizeof(words) - used, " %.*s",
                                     (int)m->need_documents.wants.at[i].type.len,
                                     (const char *)m->need_documents.wants.at[i].type.p);
    say(g->w, "%s %s%s", g->name, what, words);
}

static void hear_deny(struct guest *g, const struct msg_deny *d)
{
    g->code = err_from_wire((unsigned)d->code);
    g->denial_id_len = d->denial_id.len;
    g->retry_after_ms = d->retry_after_ms;
    assert(d->denial_id.len <= sizeof(g->denial_id));
    if (d->denial_id.len > 0)
        memcpy(g->denial_id, d->denial_id.p, d->denial_id.len);
    say(g->w, "%s deny %s%s", g->name, err_name(g->code), d->denial_id.len == 0 ? ", no id" : "");
}

static void on_send(void *arg, const struct message *m)
{
    struct guest *g = arg;
    struct buf wire;
    struct err err = {.code = 0};
    buf_init(&wire, message_max(m->type));
    int rc = message_pack(m, &wire, &err); /* what cannot be packed could not be sent */
    assert(rc == 0);
    buf_done(&wire);
    g->last = m->type;
    if (m->type == MESSAGE_RELEASE)
        hear_release(g, &m->release);
    else if (m->type == MESSAGE_DENY)
        hear_deny(g, &m->deny);
    else if (m->type == MESSAGE_BUSY)
        say(g->w, "%s busy", g->name);
    else
        hear_list(g, m->type == MESSAGE_CHALLENGE ? "challenge" : "need", m);
    g->answers++;
}

static int on_exporter(void *arg, const uint8_t nonce[NONCE_LEN], uint8_t ret[32])
{
    (void)arg;
    memcpy(ret, nonce, 32);
    return 0;
}

static void on_finished(void *arg)
{
    struct guest *g = arg;
    assert(g->visit != NULL);
    g->visit = NULL;
}

void guest_init(struct guest *g, struct visit_world *w, const char *name)
{
    memset(g, 0, sizeof(*g));
    g->w = w;
    g->name = name;
    g->stage = g->slot = 1;
    memset(g->nonce, name[strlen(name) - 1], NONCE_LEN);
    memcpy(g->session_key, w->envelope->envelope.stages[0].members[0].point, EC_POINT_LEN);
    g->peer.not_after_ms = NETWORK_EXPIRES_MS;
    memset(g->peer.key_hash, 1, HASH_LEN); /* device web-1 */
    const struct certificate *ca = &w->net.root->root.device_cas[0];
    sha256(BYTES(ca->der, ca->len), g->peer.issuer_hash);
    static const uint8_t home[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 9};
    memcpy(g->peer.address, home, sizeof(home));
    (void)strcpy(g->peer.address_text, "127.0.0.9");
    struct buf *bufs[] = {&g->body, &g->entry, &g->receipt, &g->answer};
    for (size_t i = 0; i < 4; i++)
        buf_init(bufs[i], RECEIPT_MAX);
}

void guest_done(struct guest *g)
{
    struct buf *bufs[] = {&g->body, &g->entry, &g->receipt, &g->answer};
    for (size_t i = 0; i < 4; i++)
        buf_done(bufs[i]);
}

static struct message *copied(const struct message *m)
{
    struct buf wire;
    struct message *copy = NULL;
    struct err err = {.code = 0};
    buf_init(&wire, message_max(m->type));
    int rc = message_pack(m, &wire, &err);
    if (rc == 0)
        rc = message_unpack(m->type, buf_view(&wire), &copy, &err);
    if (rc != 0)
        (void)fprintf(stderr, "%s\n", err.text);
    assert(rc == 0);
    buf_done(&wire);
    return copy;
}

void guest_begin(struct guest *g)
{
    static const struct visit_io io = {on_send, on_exporter, on_finished};
    struct message m = {.type = MESSAGE_BEGIN,
                        .begin = {.network = bytes_str(NETWORK_NAME),
                                  .node = bytes_str("n1"),
                                  .chain = bytes_str(g->w->chain_text),
                                  .stage = g->stage,
                                  .slot = g->slot,
                                  .session_key = BYTES_OF(g->session_key),
                                  .client_nonce = BYTES_OF(g->nonce)}};
    assert(g->visit == NULL);
    int rc = visit_start(&g->w->node, &g->peer, &io, g, copied(&m), &g->visit);
    assert(rc == 0);
    visit_judge(g->visit);
}

void guest_attest(struct guest *g)
{
    struct message m = {.type = MESSAGE_ATTEST};
    assert(g->visit != NULL && visit_is_challenged(g->visit));
    visit_attest(g->visit, copied(&m));
}

void guest_leave(struct guest *g)
{
    struct visit *v = g->visit;
    g->visit = NULL;
    visit_detach(v);
}

void guest_await(struct guest *g, size_t answers)
{
    world_until_count(&g->w->log, &g->answers, answers);
}

enum message_type guest_walk(struct guest *g)
{
    size_t before = g->answers;
    guest_begin(g);
    guest_await(g, before + 1);
    if (g->last == MESSAGE_CHALLENGE) {
        guest_attest(g);
        guest_await(g, before + 2);
    }
    return g->last;
}
