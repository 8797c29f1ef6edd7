/* papers: loading, accepting, persisting and serving documents. */
#include "node/papers.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER_FILES_MAX 4096u
#define REPLY_BYTES_MAX (3u * 1024u * 1024u)

struct paper { /* one accepted document on its way to the disk */
    struct log_append append;
    struct worker_job job; /* role config: no log */
    struct node *node;
    struct document *document;
    struct err err;
};

/* In this order each document finds the root or policy that judges it. */
static const enum document_type order[] = {DOCUMENT_ROOT,   DOCUMENT_ROSTER,   DOCUMENT_INVENTORY, DOCUMENT_POLICY,
                                           DOCUMENT_STATUS, DOCUMENT_ENVELOPE, DOCUMENT_CHAIN};
#define ORDER_COUNT (sizeof(order) / sizeof(order[0]))

static bool is_trust(enum document_type type)
{
    return type == DOCUMENT_ROOT || type == DOCUMENT_ROSTER;
}

/* ---- to the disk */

static int put_document(struct store_txn *t, const struct document *d, struct err *err)
{
    struct buf key;
    buf_init(&key, 256);
    buf_printf(&key, "%s/%s", document_type_name(d->type), d->name);
    /* Every root is kept, in order: each is judged by the one before it. */
    if (d->type == DOCUMENT_ROOT)
        buf_printf(&key, "%020llu", (unsigned long long)d->version);
    /* Two owners may use one id, and a policy named by an old envelope stays: those keys carry the hash as well. */
    if (d->type == DOCUMENT_ENVELOPE || d->type == DOCUMENT_POLICY) {
        buf_str(&key, "/");
        buf_hex(&key, BYTES_OF(d->hash));
    }
    int rc = buf_ok(&key) ? store_put(t, STORE_DOCUMENTS, buf_view(&key), d->note, false, err) : ERR_NOMEM;
    buf_done(&key);
    return rc;
}

static void paper_free(struct paper *p)
{
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
    (void)err; /* the log says so itself; the document is in force and is offered again after a restart */
    paper_free(a->arg);
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
    (void)cancelled;
    paper_free((struct paper *)((char *)job - offsetof(struct paper, job)));
}

static void write_one(struct node *n, struct document *d)
{
    struct paper *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return;
    p->node = n;
    p->document = document_ref(d);
    p->append = (struct log_append){.entry = {.type = ENTRY_DOCUMENT, .document_hash = BYTES_OF(p->document->hash)},
                                    .with = with_entry,
                                    .done = on_appended,
                                    .arg = p};
    p->job = (struct worker_job){.run = put_run, .done = put_done};
    int rc = n->log != NULL ? node_log_append(n->log, &p->append) : worker_submit(n->store_thread, &p->job);
    if (rc != 0)
        paper_free(p);
}

void papers_flush(struct node *n)
{
    struct node_papers *p = &n->papers;
    for (size_t i = 0; i < p->unwritten_count; i++) {
        write_one(n, p->unwritten[i]);
        document_unref(p->unwritten[i]);
    }
    p->unwritten_count = 0;
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

static int offer_one(struct node *n, struct bytes note, const char *source, enum origin origin, unsigned *accepted,
                     struct err *err)
{
    enum shelf_outcome outcome = SHELF_KNOWN;
    const struct document *d = NULL;
    struct err mine = {.code = 0};
    int rc = origin == STORED ? shelf_restore(n->shelf, note, source, &outcome, &d, &mine)
                              : shelf_offer(n->shelf, note, source, n->clock.now_ms(n->clock.arg), &outcome, &d, &mine);
    if (rc == ERR_STALE)
        return 0; /* we have a newer one */
    if (rc != 0) {
        if (err->code == 0)
            *err = mine.code != 0 ? mine : (struct err){.code = rc};
        return rc;
    }
    if (outcome != SHELF_ACCEPTED)
        return 0;
    (*accepted)++;
    n->counters.documents++;
    n->papers.trust_changed = n->papers.trust_changed || is_trust(d->type);
    if (origin == OFFERED && n->papers.unwritten_count < NODE_UNWRITTEN_MAX) {
        struct document *mutable = shelf_find_hash(n->shelf, d->type, d->hash);
        if (mutable != NULL)
            n->papers.unwritten[n->papers.unwritten_count++] = document_ref(mutable);
    }
    return 0;
}

/* files: the name of each note's file, or NULL: all are from `source`. */
static unsigned offer_all(struct node *n, const struct msg_note *notes, char *const *files, size_t count,
                          const char *source, enum origin origin, struct err *err)
{
    unsigned accepted = 0;
    *err = (struct err){.code = 0};
    for (size_t o = 0; o < ORDER_COUNT; o++)
        for (size_t i = 0; i < count; i++) {
            struct document_claim claim;
            struct err peek = {.code = 0};
            const char *from = files != NULL ? files[i] : source;
            if (document_peek(notes[i].text, &claim, &peek) != 0) {
                if (o == 0 && err->code == 0)
                    (void)err_set(err, peek.code, "%s: %s", from, peek.text);
                continue;
            }
            if (claim.type == order[o])
                (void)!offer_one(n, notes[i].text, from, origin, &accepted, err);
        }
    return accepted;
}

unsigned papers_offer(struct node *n, const struct msg_note *notes, size_t count, const char *source, struct err *err)
{
    return offer_all(n, notes, NULL, count, source, OFFERED, err);
}

/* ---- loading */

struct stored {
    struct msg_note *notes;
    char **files; /* where each is from */
    size_t count, size;
    bool failed;
};

static bool stored_grow(struct stored *s)
{
    size_t size = s->size == 0 ? 64 : s->size * 2;
    if (s->count < s->size)
        return true;
    if (size > FOLDER_FILES_MAX)
        return false;
    struct msg_note *notes = realloc(s->notes, size * sizeof(*notes));
    s->notes = notes != NULL ? notes : s->notes;
    char **files = realloc(s->files, size * sizeof(*files));
    s->files = files != NULL ? files : s->files;
    if (notes == NULL || files == NULL)
        return false;
    s->size = size;
    return true;
}

static bool stored_add(struct stored *s, struct bytes text, const char *file)
{
    uint8_t *copy = malloc(text.len + 1);
    char *name = strdup(file);
    if (copy == NULL || name == NULL || !stored_grow(s)) {
        free(copy);
        free(name);
        s->failed = true;
        return false;
    }
    memcpy(copy, text.p, text.len);
    s->files[s->count] = name;
    s->notes[s->count++] = (struct msg_note){BYTES(copy, text.len)};
    return true;
}

static void stored_free(struct stored *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free((void *)s->notes[i].text.p);
        free(s->files[i]);
    }
    free(s->notes);
    free(s->files);
}

static bool on_stored(void *arg, struct bytes key, struct bytes value)
{
    (void)key;
    return stored_add(arg, value, "store");
}

static int load_stored(struct node *n, struct err *err)
{
    struct store_txn *t = NULL;
    struct stored s = {.count = 0};
    TRY(store_begin(n->store, false, &t, err));
    int rc = store_scan(t, STORE_DOCUMENTS, BYTES_NONE, on_stored, &s);
    store_abort(t);
    if (rc == 0 && s.failed)
        rc = err_set(err, ERR_NOMEM, "out of memory for stored documents");
    struct err ignored; /* what cannot be restored is offered again by others */
    if (rc == 0)
        (void)offer_all(n, s.notes, s.files, s.count, "store", STORED, &ignored);
    stored_free(&s);
    return rc;
}

static bool wanted_file(const char *name)
{
    size_t len = strlen(name);
    return name[0] != '.' &&
           ((len > 5 && strcmp(name + len - 5, ".note") == 0) || (len > 6 && strcmp(name + len - 6, ".chain") == 0));
}

static int read_folder(const char *folder, struct stored *s, struct err *err)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return err_set(err, ERR_CONFIG, "field documents: folder %s cannot be read: %s", folder, strerror(errno));
    int rc = 0;
    for (struct dirent *e = readdir(dir); e != NULL && rc == 0; e = readdir(dir)) {
        if (!wanted_file(e->d_name))
            continue;
        struct buf path, text;
        buf_init(&path, 4096);
        buf_init(&text, NOTE_MAX);
        buf_printf(&path, "%s/%s", folder, e->d_name);
        rc = buf_cstr(&path) != NULL ? file_read(buf_cstr(&path), NOTE_MAX, &text, err) : ERR_NOMEM;
        if (rc == 0 && !stored_add(s, buf_view(&text), buf_cstr(&path)))
            rc = err_set(err, ERR_FULL, "%s holds more than %u documents", folder, FOLDER_FILES_MAX);
        buf_done(&path);
        buf_done(&text);
    }
    (void)closedir(dir);
    return rc;
}

unsigned papers_reload(struct node *n, struct err *err)
{
    *err = (struct err){.code = 0};
    if (n->config->documents == NULL)
        return 0;
    struct stored s = {.count = 0};
    unsigned accepted = 0;
    if (read_folder(n->config->documents, &s, err) == 0)
        accepted = offer_all(n, s.notes, s.files, s.count, n->config->documents, OFFERED, err);
    stored_free(&s);
    return accepted;
}

int papers_load(struct node *n, struct err *err)
{
    struct buf root;
    buf_init(&root, NOTE_MAX);
    int rc = file_read(n->config->root, NOTE_MAX, &root, err);
    unsigned accepted = 0;
    if (rc == 0) {
        *err = (struct err){.code = 0};
        rc = offer_one(n, buf_view(&root), n->config->root, PINNED, &accepted, err);
    }
    buf_done(&root);
    TRY(rc);
    TRY(load_stored(n, err));
    (void)papers_reload(n, err);
    return err->code;
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
