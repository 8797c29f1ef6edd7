/* open: documents gathered, chain chosen and walked, payload opened. */
#include "orchestrator/open.h"
#include "common/base/mutant.h"
#include "orchestrator/payload_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define CHAIN_LIFETIME_MS 3600000 /* of generated chains, when the policy allows that much */
#define ATTEMPTS_MAX 2            /* documents may change under a walk; struct enf keeps two */
#define JOBS_MAX 64
#define NODES_ASKED_MAX 3

/* ---- life */

int open_new(const char *config_path, struct enf **ret, struct err *err)
{
    TRY(secret_setup(err));
    struct enf *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    int rc = config_load(config_path, &e->config, err);
    if (rc == 0) {
        e->loop = calloc(1, sizeof(*e->loop));
        if (e->loop == NULL || uv_loop_init(e->loop) != 0) {
            free(e->loop);
            e->loop = NULL;
            rc = err_set(err, ERR_NOMEM, "no event loop");
        }
    }
    if (rc == 0 && worker_start(e->loop, 1, JOBS_MAX, &e->workers) != 0)
        rc = err_set(err, ERR_INTERNAL, "no worker thread");
    if (rc == 0 && dial_pool_new(&e->pool) != 0)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    if (rc == 0)
        rc = depot_open(e->config, e->loop, true, &e->depot, err);
    if (rc != 0) {
        open_free(e);
        return rc;
    }
    *ret = e;
    return 0;
}

static void on_stopped(void *arg)
{
    (void)arg;
}

void open_free(struct enf *e)
{
    if (e == NULL)
        return;
    walk_free(e->walk);
    walk_free(e->before);
    document_unref(e->chain);
    depot_close(e->depot);
    dial_pool_free(e->pool);
    if (e->workers != NULL)
        worker_stop(e->workers, on_stopped, NULL);
    if (e->loop != NULL) {
        uv_run(e->loop, UV_RUN_DEFAULT); /* closes what is closing: bounded by conn_close */
        uv_loop_close(e->loop);
        free(e->loop);
    }
    if (e->attester.attester != NULL)
        e->attester.kind->close(e->attester.attester);
    config_free(e->config);
    free(e);
}

/* ---- documents */

static void want(struct fetch_want *wants, size_t *count, enum document_type type, const char *name,
                 const uint8_t *hash)
{
    struct fetch_want *w = &wants[(*count)++];
    *w = (struct fetch_want){.type = type, .by_hash = hash != NULL};
    snprintf(w->name, sizeof(w->name), "%s", name);
    if (hash != NULL)
        memcpy(w->hash, hash, HASH_LEN);
}

/* The policies that the fetched envelope and chain lean on, as far as their unverified texts say. */
static int fetch_policies(struct enf *e, const char *operation, const char *also, struct err *err)
{
    struct fetch_want wants[3];
    size_t count = 0;
    struct document *envelope = NULL, *chain = NULL;
    struct bytes text;
    if (note_text(depot_envelope(e->depot), &text, NULL) == 0 &&
        document_parse(text, "envelope", &envelope, NULL) == 0 && envelope->type == DOCUMENT_ENVELOPE) {
        want(wants, &count, DOCUMENT_POLICY, envelope->envelope.policy_name, NULL);
        want(wants, &count, DOCUMENT_POLICY, envelope->envelope.policy_name, envelope->envelope.policy_hash);
    }
    struct bytes chain_text = depot_chain(e->depot, operation);
    if (envelope != NULL && chain_text.len > 0 && document_parse(chain_text, "chain", &chain, NULL) == 0 &&
        chain->type == DOCUMENT_CHAIN)
        want(wants, &count, DOCUMENT_POLICY, envelope->envelope.policy_name, chain->chain.policy_hash);
    document_unref(envelope);
    document_unref(chain);
    return count > 0 ? depot_fetch_now(e->depot, wants, count, also, err) : 0;
}

static int fetch_all(struct enf *e, const char *operation, const char *envelope_hex, const char *also, struct err *err)
{
    struct fetch_want wants[6];
    size_t count = 0;
    if (e->config->server_count == 0 && also == NULL)
        return err_set(err, ERR_UNAVAILABLE, "no configuration server is configured");
    want(wants, &count, DOCUMENT_ROOT, "", NULL);
    want(wants, &count, DOCUMENT_ROSTER, "", NULL);
    want(wants, &count, DOCUMENT_INVENTORY, "", NULL);
    want(wants, &count, DOCUMENT_STATUS, "", NULL);
    want(wants, &count, DOCUMENT_ENVELOPE, envelope_hex, NULL);
    want(wants, &count, DOCUMENT_CHAIN, operation, NULL);
    TRY(depot_fetch_now(e->depot, wants, count, also, err));
    TRY(fetch_policies(e, operation, also, err));
    if (depot_envelope(e->depot).len == 0)
        return 0;
    return depot_offer(e->depot, depot_envelope(e->depot), "the fetched envelope", err);
}

/* When no configuration server answers and what we hold will not do, some nodes are asked: what they send certifies
 * itself. */
static int fetch(struct enf *e, const char *operation, const char *envelope_hex, struct err *err)
{
    struct shelf *shelf = depot_shelf(e->depot);
    struct document *roster = shelf_find(shelf, DOCUMENT_ROSTER, BYTES_NONE);
    int rc = fetch_all(e, operation, envelope_hex, NULL, err);
    unsigned asked = 0;
    roster = roster != NULL ? document_ref(roster) : NULL;
    for (size_t i = 0; rc != 0 && roster != NULL && i < roster->roster.count && asked < NODES_ASKED_MAX; i++) {
        bool enough = shelf_fresh(shelf, now_ms(), NULL) == 0 &&
                      shelf_find(shelf, DOCUMENT_ENVELOPE, bytes_str(envelope_hex)) != NULL;
        if (enough)
            break;
        if ((roster->roster.nodes[i].roles & NODE_HSM) == 0)
            continue;
        asked++;
        rc = fetch_all(e, operation, envelope_hex, roster->roster.nodes[i].name, err);
    }
    document_unref(roster);
    return rc;
}

/* An envelope is only ever the expected one: this id, this owner, this operation. */
static int find_envelope(struct enf *e, const struct client_operation *op, const char *hex, struct document **ret,
                         struct err *err)
{
    struct document *d = shelf_find(depot_shelf(e->depot), DOCUMENT_ENVELOPE, bytes_str(hex));
    if (d == NULL)
        return err_set(err, ERR_DOCUMENTS, "envelope %s is not here", hex);
    if (memcmp(d->envelope.owner, op->owner.public, sizeof(d->envelope.owner)) != 0)
        return err_set(err, ERR_SIGNATURE, "envelope %s is not signed by the owner that is expected for '%s' (%s)", hex,
                       op->name, op->owner.name);
    if (strcmp(d->envelope.operation, op->name) != 0)
        return err_set(err, ERR_CHAIN, "envelope %s is for operation '%s', not '%s'", hex, d->envelope.operation,
                       op->name);
    *ret = d;
    return 0;
}

/* ---- chain */

static int check_chain(struct enf *e, struct document *chain, struct document *envelope, struct open_papers *ret,
                       struct err *err)
{
    struct shelf *shelf = depot_shelf(e->depot);
    struct document *policy = shelf_find_hash(shelf, DOCUMENT_POLICY, chain->chain.policy_hash);
    if (policy == NULL)
        return err_set(err, ERR_DOCUMENTS, "the policy that the chain names is not here");
    struct chain_world w = {.policy = policy,
                            .envelope = envelope,
                            .roster = shelf_find(shelf, DOCUMENT_ROSTER, BYTES_NONE),
                            .status = shelf_find(shelf, DOCUMENT_STATUS, BYTES_NONE)};
    TRY(chain_check(&w, chain, now_ms(), err));
    ret->chain = document_ref(chain);
    ret->policy = document_ref(policy);
    ret->envelope = document_ref(envelope);
    return 0;
}

static int try_chain(struct enf *e, const char *operation, struct bytes text, const char *source,
                     struct document *envelope, struct open_papers *ret, struct err *err)
{
    struct document *chain = NULL;
    int rc = document_parse(text, source, &chain, err);
    if (rc == 0 && (chain->type != DOCUMENT_CHAIN || strcmp(chain->chain.operation, operation) != 0))
        rc = err_set(err, ERR_CHAIN, "%s is not a chain for '%s'", source, operation);
    if (rc == 0)
        rc = check_chain(e, chain, envelope, ret, err);
    document_unref(chain);
    return rc;
}

static int generate_chain(struct enf *e, const char *operation, struct document *envelope, struct open_papers *ret,
                          struct err *err)
{
    struct shelf *shelf = depot_shelf(e->depot);
    struct chain_world w = {.policy = shelf_find(shelf, DOCUMENT_POLICY, bytes_str(envelope->envelope.policy_name)),
                            .envelope = envelope,
                            .roster = shelf_find(shelf, DOCUMENT_ROSTER, BYTES_NONE),
                            .status = shelf_find(shelf, DOCUMENT_STATUS, BYTES_NONE)};
    if (w.policy == NULL)
        return err_set(err, ERR_DOCUMENTS, "policy '%s' is not here", envelope->envelope.policy_name);
    uint64_t lifetime_ms = w.policy->policy.chain_lifetime_ms;
    if (lifetime_ms > CHAIN_LIFETIME_MS)
        lifetime_ms = CHAIN_LIFETIME_MS;
    struct buf text;
    buf_init(&text, CHAIN_MAX);
    int rc = chain_generate(&w, operation, now_ms(), lifetime_ms, NULL, 0, &text, err);
    if (rc == 0)
        rc = try_chain(e, operation, buf_view(&text), "generated chain", envelope, ret, err);
    buf_done(&text);
    return rc;
}

static int chain_from_file(struct enf *e, const char *operation, const char *path, struct document *envelope,
                           struct open_papers *ret, struct err *err)
{
    struct buf text;
    buf_init(&text, CHAIN_MAX);
    int rc = file_read(path, CHAIN_MAX, &text, err);
    if (rc == 0)
        rc = try_chain(e, operation, buf_view(&text), path, envelope, ret, err);
    buf_done(&text);
    return rc;
}

static int choose_chain(struct enf *e, const char *operation, const char *path, struct document *envelope,
                        struct open_papers *ret, struct err *err)
{
    if (path != NULL)
        return chain_from_file(e, operation, path, envelope, ret, err);
    struct bytes text = depot_chain(e->depot, operation);
    struct err given = {0};
    if (text.len > 0 && try_chain(e, operation, text, "the configured chain", envelope, ret, &given) == 0)
        return 0;
    /* A chain that is not admissible (any more) is no reason to stop: the policy says which others are. */
    int rc = generate_chain(e, operation, envelope, ret, err);
    return rc != 0 && given.code != 0 ? err_wrap(err, rc, "%s; and no other", given.text) : rc;
}

int open_prepare(struct enf *e, const char *operation, const char *chain_path, struct open_papers *ret, struct err *err)
{
    const struct client_operation *op = config_operation(e->config, operation);
    if (op == NULL)
        return err_set(err, ERR_NOT_FOUND, "the configuration knows no operation '%s'", operation);
    char hex[2 * ENVELOPE_ID_LEN + 1];
    hex_encode(BYTES_OF(op->envelope), hex);
    struct err fetched = {0};
    int fetch_rc = fetch(e, operation, hex, &fetched); /* what we hold may do without */
    struct document *envelope = NULL;
    int rc = shelf_fresh(depot_shelf(e->depot), now_ms(), err);
    if (rc == 0)
        rc = find_envelope(e, op, hex, &envelope, err);
    if (rc == 0)
        rc = choose_chain(e, operation, chain_path, envelope, ret, err);
    const struct err *refused = depot_refusal(e->depot);
    if (rc != 0 && fetch_rc != 0)
        return err_wrap(err, rc, "%s; with the documents at hand", fetched.text);
    if (rc != 0 && refused->code != 0)
        return err_wrap(err, rc, "%s; with the documents at hand", refused->text);
    return rc;
}

void open_papers_done(struct open_papers *p)
{
    document_unref(p->chain);
    document_unref(p->policy);
    document_unref(p->envelope);
    *p = (struct open_papers){NULL, NULL, NULL};
}

/* ---- attester */

static bool asks_evidence(const struct factor *f, const char *format)
{
    if (f->kind == FACTOR_EVIDENCE)
        return strcmp(f->format, format) == 0;
    for (size_t i = 0; i < f->child_count; i++) {
        if (asks_evidence(&f->children[i], format))
            return true;
    }
    return false;
}

static int open_attester(struct enf *e, const struct document *policy, struct err *err)
{
    const struct client_config *c = e->config;
    const struct attester_kind *kind = attester_find(c->attester_kind);
    bool asked = false;
    if (c->attester_kind[0] != '\0' && kind == NULL)
        return err_set(err, ERR_CONFIG, "attester: kind: no '%s' in this build", c->attester_kind);
    for (size_t i = 0; c->attester_kind[0] != '\0' && i < policy->policy.stage_count; i++)
        asked = asked || asks_evidence(&policy->policy.stages[i].factors, c->attester_kind);
    if (!asked || e->attester.attester != NULL)
        return 0;
    int rc = kind->open(c->attester_device, &e->attester.attester, err);
    if (rc != 0)
        return err_wrap(err, rc, "attester %s", c->attester_device);
    e->attester.kind = kind;
    return 0;
}

/* ---- walk and payload */

static int walk_papers(struct enf *e, const struct open_papers *p, struct secret **ret_secrets, struct err *err)
{
    e->before = e->walk;
    e->walk = NULL;
    document_unref(e->chain);
    e->chain = document_ref(p->chain);
    struct walk_inputs in = {.depot = e->depot,
                             .loop = e->loop,
                             .workers = e->workers,
                             .attester = &e->attester,
                             .pool = e->pool,
                             .network = e->config->network,
                             .source = e->config->source,
                             .chain = p->chain,
                             .policy = p->policy,
                             .envelope = p->envelope,
                             .deadline_ms = e->config->deadline_ms,
                             .observer = e->observer,
                             .observer_arg = e->observer_arg};
    TRY(open_attester(e, p->policy, err));
    TRY(walk_new(&in, &e->walk, err));
    return walk_run(e->walk, ret_secrets, err);
}

static int open_dek(const struct document *envelope, struct secret *const *secrets, struct secret **ret_key,
                    struct err *err)
{
    const struct envelope *v = &envelope->envelope;
    struct secret *dek = NULL;
    uint8_t commitment[HASH_LEN];
    int rc = share_dek(v->id, v->generation, secrets, v->stage_count, &dek);
    if (rc == 0)
        rc = share_dek_commitment(dek, commitment);
    if (rc == 0 && !bytes_equal(BYTES_OF(commitment), BYTES_OF(v->dek_commitment)) && !mutant("DEK_COMMITMENT"))
        rc = ERR_COMMITMENT;
    if (rc == 0)
        rc = share_payload_key(dek, ret_key);
    secret_free(dek);
    return rc != 0 ? err_set(err, rc, "the stages' secrets do not make the envelope's key") : 0;
}

static int unseal_once(struct enf *e, const char *operation, const char *chain_path, open_begin begin, open_sink sink,
                       void *arg, struct err *err)
{
    struct open_papers p = {NULL, NULL, NULL};
    struct secret *secrets[STAGE_MAX] = {NULL}, *key = NULL;
    struct payload_source source = {0};
    TRY(open_prepare(e, operation, chain_path, &p, err));
    /* Before anything is asked for: a payload that is missing must not cost a walk. */
    int rc = payload_find(p.envelope, e->config->payload, &source, err);
    if (rc == 0)
        rc = walk_papers(e, &p, secrets, err);
    if (rc == 0)
        rc = open_dek(p.envelope, secrets, &key, err);
    for (size_t i = 0; i < STAGE_MAX; i++)
        secret_free(secrets[i]);
    if (rc == 0)
        rc = begin != NULL ? begin(arg, payload_plain_len(p.envelope->envelope.payload_len)) : 0;
    if (rc == 0)
        rc = payload_deliver(p.envelope, &source, key, sink, arg, err);
    if (rc != 0 && err != NULL && err->code == 0)
        err_set(err, rc, "%s", err_advice_text(rc));
    secret_free(key);
    payload_source_done(&source);
    open_papers_done(&p);
    return rc;
}

int open_unseal(struct enf *e, const char *operation, const char *chain_path, open_begin begin, open_sink sink,
                void *arg, struct err *err)
{
    int rc = ERR_STALE;
    walk_free(e->walk);
    walk_free(e->before);
    e->walk = e->before = NULL;
    for (int i = 0; rc == ERR_STALE && i < ATTEMPTS_MAX; i++) {
        if (err != NULL)
            *err = (struct err){0};
        rc = unseal_once(e, operation, chain_path, begin, sink, arg, err);
    }
    return rc;
}
