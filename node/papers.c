/* papers: loading, accepting, persisting and serving documents. */
#include "node/papers.h"
#include "common/base/log.h"
#include "node/notes.h"
#include <stdlib.h>
#include <string.h>

#define REPLY_BYTES_MAX (3u * 1024u * 1024u)

struct paper { /* one accepted document on its way to the disk */
    struct log_append append;
    struct worker_job job; /* role config: no log */
    struct node *node;
    struct document *document;
    struct err err;
};

static bool is_trust(enum document_type type)
{
    return type == DOCUMENT_ROOT || type == DOCUMENT_ROSTER;
}

/* ---- to the disk */

static bool is_kept_by_hash(enum document_type type)
{
    return type == DOCUMENT_ENVELOPE || type == DOCUMENT_POLICY || type == DOCUMENT_CHAIN;
}

/* One record for what replaces its like. Every root is kept, in order: each is judged by the one before it. Of others
 * several stand beside one another: generations, versions that old envelopes name, owners with one id, chains. */
static void put_key(struct buf *key, enum document_type type, const char *name, uint64_t version,
                    const uint8_t hash[HASH_LEN])
{
    buf_init(key, 256);
    buf_printf(key, "%s/%s", document_type_name(type), name);
    if (type == DOCUMENT_ROOT)
        buf_printf(key, "%020llu", (unsigned long long)version);
    if (is_kept_by_hash(type)) {
        buf_str(key, "/");
        buf_hex(key, BYTES(hash, HASH_LEN));
    }
}

static int put_document(struct store_txn *t, const struct document *d, struct err *err)
{
    struct buf key;
    put_key(&key, d->type, d->name, d->version, d->hash);
    int rc = buf_ok(&key) ? store_put(t, STORE_DOCUMENTS, buf_view(&key), d->note, false, err) : ERR_NOMEM;
    buf_done(&key);
    return rc;
}

static int delete_document(struct store_txn *t, const struct note_item *item)
{
    struct buf key;
    put_key(&key, item->claim.type, item->claim.name, item->claim.version, item->hash);
    int rc = buf_ok(&key) ? store_delete(t, STORE_DOCUMENTS, buf_view(&key)) : ERR_NOMEM;
    buf_done(&key);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static void add_unwritten(struct node *n, struct document *d)
{
    if (n->papers.unwritten_count < NODE_UNWRITTEN_MAX)
        n->papers.unwritten[n->papers.unwritten_count++] = document_ref(d);
}

/* Not written: papers_flush tries again. */
static void paper_done(struct paper *p, bool written)
{
    p->node->papers.writing--;
    if (!written)
        add_unwritten(p->node, p->document);
    document_unref(p->document);
    free(p);
}

static int with_entry(struct log_append *a, struct store_txn *t, uint64_t entry_index, uint64_t time_ms,
                      struct err *err)
{
    struct paper *p = a->arg;
    (void)entry_index;
    (void)time_ms;
    return put_document(t, p->document, err);
}

static void on_appended(struct log_append *a, const struct err *err)
{
    if (err != NULL && err->code != ERR_TOKEN)
        log_warn("an accepted document is not on the disk yet: %s", err->text);
    paper_done(a->arg, err == NULL || err->code == ERR_TOKEN); /* ERR_TOKEN: durable, the signature follows */
}

static void put_run(struct worker_job *job)
{
    struct paper *p = (struct paper *)((char *)job - offsetof(struct paper, job));
    struct store_txn *t = NULL;
    if (store_begin(p->node->store, true, &t, &p->err) != 0)
        return;
    if (put_document(t, p->document, &p->err) != 0)
        store_abort(t);
    else
        (void)!store_commit(t, &p->err);
}

static void put_done(struct worker_job *job, bool cancelled)
{
    struct paper *p = (struct paper *)((char *)job - offsetof(struct paper, job));
    if (p->err.code != 0)
        log_warn("an accepted document is not on the disk yet: %s", p->err.text);
    paper_done(p, !cancelled && p->err.code == 0);
}

static void write_one(struct node *n, struct document *d)
{
    struct paper *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        add_unwritten(n, d);
        return;
    }
    p->node = n;
    p->document = document_ref(d);
    p->append = (struct log_append){.entry = {.type = ENTRY_DOCUMENT, .document_hash = BYTES_OF(p->document->hash)},
                                    .with = with_entry,
                                    .done = on_appended,
                                    .arg = p};
    p->job = (struct worker_job){.run = put_run, .done = put_done};
    n->papers.writing++;
    if ((n->config->hsm ? node_log_append(n->log, &p->append) : worker_submit(n->store_thread, &p->job)) != 0)
        paper_done(p, false);
}

/* What has been replaced meanwhile is not written over what replaced it. */
static bool is_on_shelf(const struct node *n, const struct document *d)
{
    return shelf_find_hash(n->shelf, d->type, d->hash) == d;
}

void papers_flush(struct node *n)
{
    struct node_papers *p = &n->papers;
    size_t count = p->unwritten_count;
    if ((n->config->hsm && n->log == NULL) || count == 0)
        return;
    p->unwritten_count = 0;
    for (size_t i = 0; i < count; i++) { /* what fails at once goes to the front, behind i */
        struct document *d = p->unwritten[i];
        if (is_on_shelf(n, d))
            write_one(n, d);
        document_unref(d);
    }
}

void papers_forget(struct node *n)
{
    for (size_t i = 0; i < n->papers.unwritten_count; i++)
        document_unref(n->papers.unwritten[i]);
    n->papers.unwritten_count = 0;
}

bool papers_take_trust_changed(struct node *n)
{
    bool changed = n->papers.trust_changed;
    n->papers.trust_changed = false;
    return changed;
}

/* ---- accepting */

/* Where a document comes from: stored ones were accepted before, and only offered ones are stored. */
enum origin { STORED, PINNED, OFFERED };

static void took(struct node *n, const struct document *d, enum origin origin)
{
    struct document *mine = shelf_find_hash(n->shelf, d->type, d->hash);
    n->counters.documents++;
    n->papers.trust_changed = n->papers.trust_changed || is_trust(d->type);
    if (origin == OFFERED && mine != NULL)
        add_unwritten(n, mine);
}

/* Stored chains are judged for time as well: nothing depends on an old one. */
static int offer_one(struct node *n, struct bytes note, enum document_type type, const char *source, enum origin origin,
                     struct err *err)
{
    enum shelf_outcome outcome = SHELF_KNOWN;
    const struct document *d = NULL;
    uint64_t now_ms = n->clock.now_ms(n->clock.arg);
    int rc = origin == STORED && type != DOCUMENT_CHAIN
                 ? shelf_restore(n->shelf, note, source, &outcome, &d, err)
                 : shelf_offer(n->shelf, note, source, now_ms, &outcome, &d, err);
    if (rc == 0 && outcome == SHELF_ACCEPTED)
        took(n, d, origin);
    if (rc != 0 && err->code == 0)
        (void)err_set(err, rc, "%s: %s", source, err_advice_text(rc));
    return rc;
}

unsigned papers_shelve(struct node *n, struct document *d, const struct shelf_judges *judges,
                       const struct document *policy, const char *source, struct err *err)
{
    enum shelf_outcome outcome = SHELF_KNOWN;
    const struct document *mine = NULL;
    struct err why = {.code = 0};
    uint64_t now_ms = n->clock.now_ms(n->clock.arg);
    int rc = shelf_offer_opened(n->shelf, d, judges, policy, source, now_ms, &outcome, &mine, &why);
    if (rc != 0) {
        if (rc != ERR_STALE && err->code == 0)
            *err = why;
        return 0;
    }
    if (outcome == SHELF_ACCEPTED)
        took(n, mine, OFFERED);
    return outcome == SHELF_ACCEPTED ? 1 : 0;
}

/* ---- loading, before the loop runs */

struct stored {
    struct notes notes;
    int rc;
};

static bool on_stored(void *arg, struct bytes key, struct bytes value)
{
    struct stored *s = arg;
    (void)key;
    s->rc = notes_add(&s->notes, value, "store");
    return s->rc == 0;
}

/* What cannot be restored (its signers lost their role, say) is offered again by others. Expired chains and withdrawn
 * envelopes, which would gather for ever, are marked by their type; all others get DOCUMENT_NONE. */
static void restore_all(struct node *n, struct notes *notes)
{
    struct err ignored = {.code = 0};
    notes_sort(notes, &ignored);
    for (size_t i = 0; i < notes->count; i++) {
        struct note_item *item = &notes->at[i];
        int rc = offer_one(n, item->text, item->claim.type, "store", STORED, &ignored);
        if (!is_kept_by_hash(item->claim.type) || (rc != ERR_EXPIRED && rc != ERR_STALE))
            item->claim.type = DOCUMENT_NONE; /* stays on the disk */
    }
}

static int delete_dead(struct node *n, const struct notes *notes, struct err *err)
{
    struct store_txn *t = NULL;
    size_t count = 0;
    for (size_t i = 0; i < notes->count; i++)
        count += notes->at[i].claim.type != DOCUMENT_NONE;
    if (count == 0)
        return 0;
    TRY(store_begin(n->store, true, &t, err));
    int rc = 0;
    for (size_t i = 0; i < notes->count && rc == 0; i++)
        if (notes->at[i].claim.type != DOCUMENT_NONE)
            rc = delete_document(t, &notes->at[i]);
    if (rc == 0)
        return store_commit(t, err);
    store_abort(t);
    return err_set(err, rc, "expired documents cannot be deleted from the store");
}

static int load_stored(struct node *n, struct err *err)
{
    struct store_txn *t = NULL;
    struct stored s = {.rc = 0};
    TRY(store_begin(n->store, false, &t, err));
    int rc = store_scan(t, STORE_DOCUMENTS, BYTES_NONE, on_stored, &s);
    store_abort(t);
    rc = rc == 0 ? s.rc : rc;
    if (rc != 0)
        (void)err_set(err, rc, "the stored documents cannot be read: %s", err_advice_text(rc));
    else {
        restore_all(n, &s.notes);
        rc = delete_dead(n, &s.notes, err);
    }
    notes_done(&s.notes);
    return rc;
}

/* A mistake in a document stops the start. Age is none: what has expired in the folder waits for its successor. */
static int load_folder(struct node *n, struct err *err)
{
    struct notes notes = {.count = 0};
    int rc = notes_read_folder(&notes, n->config->documents, err);
    if (rc == 0) {
        notes_sort(&notes, err);
        rc = err->code;
    }
    for (size_t i = 0; i < notes.count && rc == 0; i++) {
        struct err why = {.code = 0};
        rc = offer_one(n, notes.at[i].text, notes.at[i].claim.type, notes.at[i].source, OFFERED, &why);
        if (rc == ERR_EXPIRED)
            log_warn("%s", why.text);
        if (rc == ERR_EXPIRED || rc == ERR_STALE)
            rc = 0;
        else if (rc != 0)
            *err = why;
    }
    notes_done(&notes);
    return rc;
}

int papers_load(struct node *n, struct err *err)
{
    struct buf root;
    buf_init(&root, NOTE_MAX);
    int rc = file_read(n->config->root, NOTE_MAX, &root, err);
    if (rc == 0) {
        *err = (struct err){.code = 0};
        rc = offer_one(n, buf_view(&root), DOCUMENT_ROOT, n->config->root, PINNED, err);
    }
    buf_done(&root);
    TRY(rc);
    TRY(load_stored(n, err));
    return n->config->documents != NULL ? load_folder(n, err) : 0;
}

/* ---- serving */

static struct document *find_wanted(const struct node *n, const struct msg_document_want *w)
{
    enum document_type type = document_type_from(w->type);
    if (type == DOCUMENT_NONE)
        return NULL;
    return w->hash.len == HASH_LEN ? shelf_find_hash(n->shelf, type, w->hash.p) : shelf_find(n->shelf, type, w->name);
}

void papers_find(const struct node *n, const struct msg_document_want *wants, size_t count,
                 struct msg_note ret[PAPERS_REPLY_MAX], size_t *ret_count)
{
    size_t bytes = 0;
    *ret_count = 0;
    for (size_t i = 0; i < count && *ret_count < PAPERS_REPLY_MAX; i++) {
        struct document *d = find_wanted(n, &wants[i]);
        if (d == NULL || bytes + d->note.len > REPLY_BYTES_MAX)
            continue;
        bytes += d->note.len;
        ret[(*ret_count)++] = (struct msg_note){d->note};
    }
}
