/* oracle: the trace of what nodes do, and the properties that must hold. */
#include "tests/sim/oracle.h"
#include "common/crypto/merkle.h"
#include "common/ledger/entry.h"
#include "common/ledger/receipt.h"
#include "common/walk/link.h"
#include "node/grant.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 8192u
#define WALKS_MAX 2048u
#define RELEASES_MAX 4096u
#define SIGNED_MAX 8192u

struct granted { /* one walk at one node, as its log has it */
    uint8_t walk_id[WALK_ID_LEN];
    unsigned reissues;
};

struct book { /* one node's log, as it was committed */
    uint64_t count, last_ms, grants;
    struct merkle_range range;
    uint8_t root[ENTRIES_MAX + 1][HASH_LEN]; /* of the first i entries */
    uint8_t leaf[ENTRIES_MAX][HASH_LEN];
    struct granted granted[WALKS_MAX];
    size_t granted_count;
    struct {
        uint64_t size;
        uint8_t root[HASH_LEN];
    } tree[SIGNED_MAX]; /* signed */
    size_t tree_count;
};

struct released {
    unsigned node;
    uint8_t key[GRANT_KEY_LEN], bytes[HASH_LEN];
};

struct oracle {
    struct sim *sim;
    struct book book[SIM_NODES];
    struct released released[RELEASES_MAX];
    size_t released_count;
    struct oracle_counts counts;
    int last_denial;
};

struct oracle *oracle_new(struct sim *s)
{
    struct oracle *o = calloc(1, sizeof(*o));
    assert(o != NULL);
    o->sim = s;
    return o;
}

void oracle_free(struct oracle *o)
{
    free(o);
}

struct oracle_counts oracle_counts(const struct oracle *o)
{
    return o->counts;
}

unsigned oracle_node_grants(const struct oracle *o, unsigned node)
{
    return (unsigned)o->book[node].granted_count;
}

int oracle_last_denial(const struct oracle *o)
{
    return o->last_denial;
}

static void entry_key(uint64_t index, uint8_t ret[8])
{
    for (size_t i = 0; i < 8; i++)
        ret[i] = (uint8_t)(index >> (56 - 8 * i));
}

static bool find_entry(const struct sim_node *n, uint64_t index, struct bytes *ret)
{
    uint8_t key[8];
    entry_key(index, key);
    return disk_find(n->disk, STORE_ENTRIES, BYTES_OF(key), ret);
}

/* ---- grants beside their entries */

struct grants_view {
    struct oracle *oracle;
    struct sim_node *node;
    uint64_t index; /* looked for */
    bool found;
};

static bool is_grant_of(struct bytes entry, struct bytes link_body)
{
    struct message *m = NULL;
    uint8_t hash[HASH_LEN];
    if (entry_parse(entry, &m, NULL) != 0)
        return false;
    sha256(link_body, hash);
    bool same = m->entry.type == ENTRY_GRANT && bytes_equal(m->entry.link_hash, BYTES_OF(hash));
    message_free(m);
    return same;
}

static void check_grant(void *arg, struct bytes key, struct bytes value)
{
    struct grants_view *v = arg;
    struct message *m = NULL;
    struct bytes entry;
    struct err err = {.code = 0};
    (void)key;
    if (message_unpack(MESSAGE_GRANT_RECORD, value, &m, &err) != 0) {
        sim_violate(v->oracle->sim, "together", "%s: a grant does not parse", v->node->name);
        return;
    }
    const struct msg_grant_record *g = &m->grant_record;
    v->found = v->found || g->entry_index == v->index;
    if (!find_entry(v->node, g->entry_index, &entry) || !is_grant_of(entry, g->link_body))
        sim_violate(v->oracle->sim, "together", "%s: a grant without its entry %llu", v->node->name,
                    (unsigned long long)g->entry_index);
    message_free(m);
}

static void check_grants(struct oracle *o, struct sim_node *n)
{
    struct grants_view v = {.oracle = o, .node = n, .index = UINT64_MAX};
    disk_each(n->disk, STORE_GRANTS, check_grant, &v);
}

/* ---- entries as they are committed */

static void check_type(struct oracle *o, struct sim_node *n, const struct msg_entry *e)
{
    struct book *b = &o->book[n->index];
    struct granted *g = NULL;
    for (size_t i = 0; i < b->granted_count && g == NULL; i++)
        if (bytes_equal(e->walk_id, BYTES_OF(b->granted[i].walk_id)))
            g = &b->granted[i];
    if (e->type == ENTRY_GRANT) {
        struct grants_view v = {.oracle = o, .node = n, .index = e->index};
        disk_each(n->disk, STORE_GRANTS, check_grant, &v);
        if (!v.found)
            sim_violate(o->sim, "together", "%s: entry %llu without its grant", n->name, (unsigned long long)e->index);
        if (g != NULL)
            sim_violate(o->sim, "once", "%s: entry %llu is a second GRANT of its walk", n->name,
                        (unsigned long long)e->index);
        assert(b->granted_count < WALKS_MAX && e->walk_id.len == WALK_ID_LEN);
        if (g == NULL)
            memcpy(b->granted[b->granted_count++].walk_id, e->walk_id.p, WALK_ID_LEN);
        o->counts.grants++;
        b->grants++;
    } else if (e->type == ENTRY_REISSUE) {
        o->counts.reissues++;
        if (g == NULL || ++g->reissues > GRANT_REISSUES_MAX)
            sim_violate(o->sim, "reissues", "%s: entry %llu: %s", n->name, (unsigned long long)e->index,
                        g == NULL ? "a REISSUE of nothing" : "a REISSUE too many");
    }
}

static void add_entry(struct oracle *o, struct sim_node *n, struct bytes bytes)
{
    struct book *b = &o->book[n->index];
    struct message *m = NULL;
    struct err err = {.code = 0};
    assert(b->count < ENTRIES_MAX);
    int rc = entry_parse(bytes, &m, &err);
    merkle_leaf(bytes, b->leaf[b->count]);
    merkle_range_append(&b->range, b->leaf[b->count], NULL, NULL);
    merkle_range_root(&b->range, b->root[b->count + 1]);
    if (rc != 0 || m->entry.index != b->count || m->entry.time_ms < b->last_ms)
        sim_violate(o->sim, "order", "%s: entry %llu is malformed, misplaced or earlier than the one before", n->name,
                    (unsigned long long)b->count);
    b->count++;
    if (rc != 0)
        return;
    b->last_ms = m->entry.time_ms;
    sim_trace(o->sim, n->name, "entry %llu: %s", (unsigned long long)m->entry.index, entry_type_name(m->entry.type));
    check_type(o, n, &m->entry);
    message_free(m);
}

/* node/quota.h: u64be end of the window, u64be grants. */
static void add_units(void *arg, struct bytes key, struct bytes value)
{
    uint64_t *sum = arg, end_ms = 0, grants = 0;
    struct cursor c = {value};
    (void)key;
    if (cursor_u64be(&c, &end_ms) == 0 && cursor_u64be(&c, &grants) == 0)
        *sum += grants;
}

static void check_quota(struct oracle *o, struct sim_node *n)
{
    uint64_t units = 0;
    disk_each(n->disk, STORE_QUOTAS, add_units, &units);
    if (units != o->book[n->index].grants)
        sim_violate(o->sim, "quota", "%s: %llu units were taken for %llu grants", n->name, (unsigned long long)units,
                    (unsigned long long)o->book[n->index].grants);
}

void oracle_committed(struct oracle *o, struct sim_node *n)
{
    struct book *b = &o->book[n->index];
    uint64_t grants = b->grants;
    struct bytes bytes;
    if (b->count == 0 && b->range.size == 0)
        merkle_range_init(&b->range);
    while (find_entry(n, b->count, &bytes))
        add_entry(o, n, bytes);
    if (b->grants > grants)
        check_quota(o, n);
}

/* Entries that were committed stay as they are. */
static void check_entries(struct oracle *o, struct sim_node *n)
{
    struct book *b = &o->book[n->index];
    for (uint64_t i = 0; i < b->count; i++) {
        uint8_t leaf[HASH_LEN];
        struct bytes bytes;
        if (!find_entry(n, i, &bytes)) {
            sim_violate(o->sim, "order", "%s: entry %llu is gone", n->name, (unsigned long long)i);
            return;
        }
        merkle_leaf(bytes, leaf);
        if (memcmp(leaf, b->leaf[i], HASH_LEN) != 0)
            sim_violate(o->sim, "order", "%s: entry %llu has changed", n->name, (unsigned long long)i);
    }
}

void oracle_judge(struct oracle *o, struct sim_node *n)
{
    check_grants(o, n);
    check_entries(o, n);
}

void oracle_crashed(struct oracle *o, struct sim_node *n)
{
    o->counts.crashes++;
    check_grants(o, n);
}

/* ---- signatures */

/* The root of the durable entries themselves, so that a disk of yesterday cannot hide behind what was seen. */
static bool durable_root(struct sim_node *n, uint64_t size, uint8_t ret[HASH_LEN])
{
    struct merkle_range range;
    struct bytes bytes;
    merkle_range_init(&range);
    for (uint64_t i = 0; i < size; i++) {
        uint8_t leaf[HASH_LEN];
        if (!find_entry(n, i, &bytes))
            return false;
        merkle_leaf(bytes, leaf);
        merkle_range_append(&range, leaf, NULL, NULL);
    }
    merkle_range_root(&range, ret);
    return true;
}

void oracle_signed(struct oracle *o, struct sim_node *n, uint64_t size, const uint8_t root[HASH_LEN])
{
    struct book *b = &o->book[n->index];
    uint8_t durable[HASH_LEN];
    bool all = durable_root(n, size, durable);
    if (!all || memcmp(durable, root, HASH_LEN) != 0)
        sim_violate(o->sim, "durable", "%s signs a tree of %llu that is not on its disk", n->name,
                    (unsigned long long)size);
    for (size_t i = 0; i < b->tree_count; i++)
        if (b->tree[i].size == size && memcmp(b->tree[i].root, root, HASH_LEN) != 0)
            sim_violate(o->sim, "prefix", "%s signs two trees of %llu", n->name, (unsigned long long)size);
    if (size > b->count || memcmp(b->root[size], root, HASH_LEN) != 0)
        sim_violate(o->sim, "prefix", "%s signs a tree of %llu that is no prefix of its log", n->name,
                    (unsigned long long)size);
    assert(b->tree_count < SIGNED_MAX);
    b->tree[b->tree_count].size = size;
    memcpy(b->tree[b->tree_count++].root, root, HASH_LEN);
}

/* ---- Releases */

static void check_revoked(struct oracle *o, struct run *r, const char *to, const struct msg_link_body *body)
{
    const struct document *status = shelf_find(r->node.shelf, DOCUMENT_STATUS, BYTES_NONE);
    if (status == NULL || status_halts(status, bytes_str(r->of->name), bytes_str(CAST_POLICY)) ||
        status_revokes(status, REVOKED_NODE, bytes_str(r->of->name)) ||
        status_revokes(status, REVOKED_CHAIN, body->chain_hash) ||
        status_revokes(status, REVOKED_DEVICE, bytes_str(to)))
        sim_violate(o->sim, "revoked", "%s releases to %s what its own status forbids", r->of->name, to);
}

static bool record_has(const struct sim_node *n, const uint8_t key[GRANT_KEY_LEN], const struct msg_release *m)
{
    struct bytes value;
    struct message *g = NULL;
    struct err err = {.code = 0};
    if (!disk_find(n->disk, STORE_GRANTS, BYTES(key, GRANT_KEY_LEN), &value) ||
        message_unpack(MESSAGE_GRANT_RECORD, value, &g, &err) != 0)
        return false;
    bool same = bytes_equal(g->grant_record.link_body, m->link.body) && bytes_equal(g->grant_record.answer, m->answer);
    message_free(g);
    return same;
}

/* Entry, receipt, disk and record agree with what is about to leave. */
static bool is_backed(const struct sim_node *n, const uint8_t key[GRANT_KEY_LEN], const struct msg_release *m,
                      uint64_t *ret_index)
{
    struct checkpoint c;
    struct bytes durable;
    struct message *e = NULL;
    uint8_t response[HASH_LEN];
    if (receipt_verify(m->link.receipt, m->link.entry, &n->cast->log_key, ret_index, &c, NULL) != 0 ||
        !find_entry(n, *ret_index, &durable) || !bytes_equal(durable, m->link.entry) ||
        !is_grant_of(m->link.entry, m->link.body) || !record_has(n, key, m))
        return false;
    if (entry_parse(m->link.entry, &e, NULL) != 0)
        return false;
    sha256(m->answer, response);
    bool same = bytes_equal(e->entry.response_hash, BYTES_OF(response));
    message_free(e);
    return same;
}

static struct released *find_release(struct oracle *o, unsigned node, const uint8_t key[GRANT_KEY_LEN])
{
    for (size_t i = 0; i < o->released_count; i++)
        if (o->released[i].node == node && memcmp(o->released[i].key, key, GRANT_KEY_LEN) == 0)
            return &o->released[i];
    return NULL;
}

static void check_identical(struct oracle *o, struct run *r, const uint8_t key[GRANT_KEY_LEN],
                            const struct msg_release *m, uint64_t index)
{
    uint8_t bytes[HASH_LEN];
    struct th *t = th_begin("sim-release");
    th_add(t, m->link.body);
    th_add(t, m->link.entry);
    th_add(t, m->answer);
    th_finish(t, bytes);
    struct released *first = find_release(o, r->of->index, key);
    sim_trace(o->sim, r->of->name, "release%s, entry %llu", first != NULL ? " again" : "", (unsigned long long)index);
    if (first != NULL && memcmp(first->bytes, bytes, HASH_LEN) != 0)
        sim_violate(o->sim, "identical", "%s releases other bytes than before", r->of->name);
    if (first != NULL)
        return;
    assert(o->released_count < RELEASES_MAX);
    first = &o->released[o->released_count++];
    first->node = r->of->index;
    memcpy(first->key, key, GRANT_KEY_LEN);
    memcpy(first->bytes, bytes, HASH_LEN);
}

static void check_release(struct oracle *o, struct run *r, const char *to, const struct msg_release *m)
{
    struct message *body = NULL;
    uint8_t key[GRANT_KEY_LEN];
    uint64_t index = UINT64_MAX;
    o->counts.releases++;
    if (link_parse(m->link.body, &body, NULL) != 0) {
        sim_violate(o->sim, "entry", "%s releases a link that does not parse", r->of->name);
        return;
    }
    grant_key(body->link_body.sid.p, body->link_body.stage, body->link_body.slot, key);
    bool backed = is_backed(r->of, key, m, &index);
    check_identical(o, r, key, m, index);
    if (!backed)
        sim_violate(o->sim, "entry", "%s releases what its durable log does not hold", r->of->name);
    check_revoked(o, r, to, &body->link_body);
    message_free(body);
}

/* ---- the trace of messages */

void oracle_received(struct oracle *o, struct run *r, const char *from, const struct message *m)
{
    if (r->dead)
        return;
    if (m->type == MESSAGE_BEGIN)
        sim_trace(o->sim, r->of->name, "begin stage %llu from %s", (unsigned long long)m->begin.stage, from);
    else
        sim_trace(o->sim, r->of->name, "%s from %s", message_name(m->type), from);
}

void oracle_sent(struct oracle *o, struct run *r, const char *to, const struct message *m)
{
    if (m->type == MESSAGE_RELEASE) {
        check_release(o, r, to, &m->release);
    } else if (m->type == MESSAGE_DENY) {
        o->counts.denials++;
        o->last_denial = err_from_wire((unsigned)m->deny.code);
        sim_trace(o->sim, r->of->name, "deny %s: %s", to, err_name(o->last_denial));
    } else {
        o->counts.busy += m->type == MESSAGE_BUSY;
        sim_trace(o->sim, r->of->name, "%s to %s", message_name(m->type), to);
    }
}
