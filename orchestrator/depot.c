/* depot: folders and configuration servers in, one shelf of documents out. */
#include "orchestrator/depot.h"
#include "common/base/clock.h"
#include "common/net/identity.h"
#include "orchestrator/words.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define CHAINS_MAX SHELF_CHAINS_MAX

struct depot {
    const struct client_config *config;
    uv_loop_t *loop;
    struct shelf *shelf;
    struct buf leaf; /* DER */
    void *leaf_key;
    struct tls_context *tls;
    uint8_t tls_roster[HASH_LEN];        /* the roster that tls was made from */
    struct document *chains[CHAINS_MAX]; /* of the documents folder */
    size_t chain_count;
    struct buf chain, envelope; /* fetched */
    /* the running fetch */
    struct fetch *fetch;
    struct fetch_want wants[FETCH_WANTS_MAX];
    size_t want_count, server;
    name_text also;  /* asked after all servers; "" once it was */
    name_text asked; /* who is being asked, for messages */
    depot_done done;
    void *arg;
    struct err why; /* what the servers said so far */
};

uint64_t now_ms(void)
{
    struct clock c = clock_system();
    return c.now_ms(c.arg);
}

/* ---- state */

/* "policy-db-policy.note", "root-2.note": roots all stay, since each one vouches for the next. */
static int state_save(const struct depot *d, const struct document *doc, struct err *err)
{
    char path[PATH_MAX], version[24] = "";
    if (d->config->state == NULL || doc->type == DOCUMENT_CHAIN)
        return 0;
    if (doc->type == DOCUMENT_ROOT)
        snprintf(version, sizeof(version), "-%llu", (unsigned long long)doc->version);
    int n = snprintf(path, sizeof(path), "%s/%s%s%s%s.note", d->config->state, document_type_name(doc->type),
                     doc->name[0] != '\0' ? "-" : "", doc->name, version);
    if (n < 0 || (size_t)n >= sizeof(path))
        return err_set(err, ERR_TOO_LONG, "state: path too long");
    return file_write(path, doc->note, 0644, err);
}

static int offer(struct depot *d, struct bytes note, const char *source, uint64_t at_ms, bool save, struct err *err)
{
    enum shelf_outcome outcome;
    const struct document *doc = NULL;
    int rc = shelf_offer(d->shelf, note, source, at_ms, &outcome, &doc, err);
    if (rc == ERR_STALE)
        return 0;
    if (rc == 0 && outcome == SHELF_ACCEPTED && save)
        rc = state_save(d, doc, err);
    return rc;
}

int depot_offer(struct depot *d, struct bytes note, const char *source, struct err *err)
{
    return offer(d, note, source, now_ms(), true, err);
}

/* ---- folders */

struct found { /* a file with a document in it */
    char path[PATH_MAX];
    struct document_claim claim;
    struct buf note;
};

struct folder {
    struct found **at;
    size_t count;
};

static void folder_done(struct folder *f)
{
    for (size_t i = 0; i < f->count; i++) {
        buf_done(&f->at[i]->note);
        free(f->at[i]);
    }
    free(f->at);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);
    return n > s && strcmp(name + n - s, suffix) == 0;
}

static int folder_add(struct folder *f, const char *folder, const char *name, struct err *err)
{
    if (f->count == DEPOT_FILES_MAX)
        return err_set(err, ERR_FULL, "%s: more than %d documents", folder, DEPOT_FILES_MAX);
    struct found *file = calloc(1, sizeof(*file));
    struct found **grown = realloc(f->at, (f->count + 1) * sizeof(*grown));
    if (grown != NULL)
        f->at = grown;
    if (file == NULL || grown == NULL) {
        free(file);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    buf_init(&file->note, NOTE_MAX);
    f->at[f->count++] = file;
    int n = snprintf(file->path, sizeof(file->path), "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof(file->path))
        return err_set(err, ERR_TOO_LONG, "%s: path too long", folder);
    TRY(file_read(file->path, NOTE_MAX, &file->note, err));
    int rc = document_peek(buf_view(&file->note), &file->claim, err);
    return rc != 0 ? err_wrap(err, rc, "%s", file->path) : 0;
}

/* Roots first and by version, then what leans on them: the order of enum document_type. */
static int compare_found(const void *a, const void *b)
{
    const struct found *x = *(struct found *const *)a, *y = *(struct found *const *)b;
    if (x->claim.type != y->claim.type)
        return x->claim.type < y->claim.type ? -1 : 1;
    if (x->claim.version != y->claim.version)
        return x->claim.version < y->claim.version ? -1 : 1;
    return strcmp(x->path, y->path);
}

static int folder_read(const char *path, struct folder *ret, struct err *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(dir)) != NULL;) {
        if (has_suffix(e->d_name, ".note") || has_suffix(e->d_name, ".chain"))
            rc = folder_add(ret, path, e->d_name, err);
    }
    closedir(dir);
    if (rc == 0 && ret->count > 1)
        qsort(ret->at, ret->count, sizeof(struct found *), compare_found);
    return rc;
}

static int keep_chain(struct depot *d, const struct found *f, struct err *err)
{
    if (d->chain_count == CHAINS_MAX)
        return err_set(err, ERR_FULL, "more than %d chains", CHAINS_MAX);
    TRY(document_parse(buf_view(&f->note), f->path, &d->chains[d->chain_count], err));
    d->chain_count++;
    return 0;
}

/* What was accepted once is taken again whatever the time is now, so that floors survive: shelf_fresh judges its age.
 */
static uint64_t offer_time(const struct found *f, bool state)
{
    struct document *doc = NULL;
    uint64_t now = now_ms();
    struct bytes text;
    if (!state || note_text(buf_view(&f->note), &text, NULL) != 0 || document_parse(text, f->path, &doc, NULL) != 0)
        return now;
    uint64_t at = now < doc->expires_ms ? now : doc->expires_ms - 1;
    at = at < doc->issued_ms ? doc->issued_ms : at;
    document_unref(doc);
    return at;
}

/* state: our own folder, anything wrong in it is an error. Otherwise expired documents are passed over. */
static int load_folder(struct depot *d, const char *path, bool state, struct err *err)
{
    struct folder folder = {0};
    int rc = folder_read(path, &folder, err);
    for (size_t i = 0; rc == 0 && i < folder.count; i++) {
        const struct found *f = folder.at[i];
        if (f->claim.type == DOCUMENT_CHAIN) {
            rc = keep_chain(d, f, err);
            continue;
        }
        rc = offer(d, buf_view(&f->note), f->path, offer_time(f, state), !state, err);
        if (rc == ERR_EXPIRED)
            rc = 0;
        if (rc != 0)
            err_wrap(err, rc, "%s", f->path);
    }
    folder_done(&folder);
    return rc;
}

int depot_load(struct shelf *shelf, const char *folder, struct err *err)
{
    struct client_config config = {.state = NULL};
    struct depot d = {.config = &config, .shelf = shelf};
    int rc = load_folder(&d, folder, true, err);
    for (size_t i = 0; i < d.chain_count; i++)
        document_unref(d.chains[i]);
    return rc;
}

static int load_device(struct depot *d, struct err *err)
{
    if (d->config->device_certificate == NULL)
        return err_set(err, ERR_CONFIG, "device: certificate and key are needed to dial nodes");
    struct buf pem;
    buf_init(&pem, CONFIG_FILE_MAX);
    int rc = file_read(d->config->device_certificate, CONFIG_FILE_MAX, &pem, err);
    if (rc == 0)
        rc = identity_cert_from_pem(buf_view(&pem), &d->leaf, err);
    buf_done(&pem);
    if (rc == 0)
        rc = identity_key_load(d->config->device_key, &d->leaf_key, err);
    return rc;
}

static int load_all(struct depot *d, bool device, struct err *err)
{
    const struct client_config *c = d->config;
    struct buf root;
    buf_init(&root, NOTE_MAX);
    if (c->state != NULL && mkdir(c->state, 0700) != 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "state: cannot make %s: %s", c->state, strerror(errno));
    int rc = file_read(c->root, NOTE_MAX, &root, err);
    if (rc == 0) {
        struct found f = {.note = root};
        rc = offer(d, buf_view(&root), c->root, offer_time(&f, true), true, err);
    }
    buf_done(&root);
    if (rc != 0) {
        (void)err_wrap(err, rc, "root");
        if (rc == ERR_DOCUMENTS && err != NULL) /* not the one that root_hash pins: a mistake in client.yaml */
            err->code = rc = ERR_CONFIG;
        return rc;
    }
    if (c->state != NULL)
        TRY(load_folder(d, c->state, true, err));
    if (c->documents != NULL)
        TRY(load_folder(d, c->documents, false, err));
    return device ? load_device(d, err) : 0;
}

int depot_open(const struct client_config *config, uv_loop_t *loop, bool device, struct depot **ret, struct err *err)
{
    struct depot *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    d->config = config;
    d->loop = loop;
    buf_init(&d->leaf, CONFIG_FILE_MAX);
    buf_init(&d->chain, CHAIN_MAX);
    buf_init(&d->envelope, NOTE_MAX);
    int rc = shelf_new(config->network, config->root_hash, &d->shelf);
    if (rc != 0)
        err_set(err, rc, "%s", err_advice_text(rc));
    else
        rc = load_all(d, device, err);
    if (rc != 0) {
        depot_close(d);
        return rc;
    }
    *ret = d;
    return 0;
}

void depot_close(struct depot *d)
{
    if (d == NULL)
        return;
    depot_cancel(d);
    for (size_t i = 0; i < d->chain_count; i++)
        document_unref(d->chains[i]);
    tls_context_unref(d->tls);
    identity_key_free(d->leaf_key);
    buf_done(&d->leaf);
    buf_done(&d->chain);
    buf_done(&d->envelope);
    shelf_free(d->shelf);
    free(d);
}

struct shelf *depot_shelf(struct depot *d)
{
    return d->shelf;
}

const struct err *depot_refusal(const struct depot *d)
{
    return &d->why;
}

struct bytes depot_envelope(const struct depot *d)
{
    return buf_view(&d->envelope);
}

struct bytes depot_chain(const struct depot *d, const char *operation)
{
    if (d->chain.len > 0)
        return buf_view(&d->chain);
    for (size_t i = 0; i < d->chain_count; i++) {
        if (strcmp(d->chains[i]->name, operation) == 0 && d->chains[i]->expires_ms > now_ms())
            return d->chains[i]->text;
    }
    return BYTES_NONE;
}

/* ---- TLS */

static int make_tls(struct depot *d, const struct document *roster, struct err *err)
{
    const struct roster *r = &roster->roster;
    struct bytes *anchors = calloc(r->count, sizeof(*anchors));
    if (anchors == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < r->count; i++)
        anchors[i] = BYTES(r->nodes[i].identity.der, r->nodes[i].identity.len);
    struct tls_settings s = {.server = false,
                             .leaf_der = buf_view(&d->leaf),
                             .leaf_key = d->leaf_key,
                             .anchors = anchors,
                             .anchor_count = r->count};
    struct tls_context *tls = NULL;
    int rc = tls_context_new(&s, &tls, err);
    free(anchors);
    if (rc != 0)
        return rc;
    tls_context_unref(d->tls);
    d->tls = tls;
    memcpy(d->tls_roster, roster->hash, HASH_LEN);
    return 0;
}

int depot_tls(struct depot *d, struct tls_context **ret, struct err *err)
{
    struct document *roster = shelf_find(d->shelf, DOCUMENT_ROSTER, BYTES_NONE);
    if (roster == NULL || roster->roster.count == 0)
        return err_set(err, ERR_DOCUMENTS, "no valid roster yet: put the current one into the documents folder");
    if (d->tls == NULL || memcmp(d->tls_roster, roster->hash, HASH_LEN) != 0)
        TRY(make_tls(d, roster, err));
    *ret = d->tls;
    return 0;
}

/* ---- fetching */

/* A note from a server: signed ones to the shelf, the chain and the envelope also kept as they came. */
static int take(struct depot *d, struct bytes note, const char *source, struct err *err)
{
    struct document_claim claim;
    TRY(document_peek(note, &claim, err));
    struct buf *keep = claim.type == DOCUMENT_CHAIN ? &d->chain : claim.type == DOCUMENT_ENVELOPE ? &d->envelope : NULL;
    if (keep != NULL) {
        size_t max = keep->max;
        buf_done(keep);
        buf_init(keep, max);
        buf_put(keep, note);
        return buf_ok(keep) ? 0 : err_set(err, ERR_TOO_LONG, "longer than its limit");
    }
    return depot_offer(d, note, source, err);
}

static void take_all(struct depot *d, const struct msg_documents *docs, const char *source)
{
    for (int type = DOCUMENT_ROOT; type <= DOCUMENT_CHAIN; type++) {
        for (size_t i = 0; i < docs->notes.count; i++) {
            struct document_claim claim;
            struct err err = {0};
            struct bytes note = docs->notes.at[i].text;
            if (document_peek(note, &claim, NULL) != 0 || claim.type != (enum document_type)type)
                continue;
            if (take(d, note, source, &err) != 0)
                err_set(&d->why, err.code, "%s sent a document that is refused: %s", source, err.text);
        }
    }
}

static void next_server(struct depot *d);

static void on_fetched(void *arg, const struct msg_documents *docs, const struct err *err)
{
    struct depot *d = arg;
    if (docs == NULL) {
        err_set(&d->why, err->code, "documents from %s: %s", d->asked, err->text);
        fetch_free(d->fetch);
        d->fetch = NULL;
        next_server(d);
        return;
    }
    take_all(d, docs, d->asked);
    fetch_free(d->fetch);
    d->fetch = NULL;
    depot_done done = d->done;
    d->done = NULL;
    done(d->arg, NULL);
}

static int ask(struct depot *d, const char *name, const char *address, bool any_role, struct err *err)
{
    struct tls_context *tls;
    words_copy(d->asked, sizeof(d->asked), name);
    TRY(depot_tls(d, &tls, err));
    struct document *roster = shelf_find(d->shelf, DOCUMENT_ROSTER, BYTES_NONE);
    const struct roster_node *node = roster_find(roster, bytes_str(name));
    if (node == NULL || (!any_role && (node->roles & NODE_CONFIG) == 0))
        return err_set(err, ERR_NOT_FOUND, "the roster has no configuration server of that name");
    struct dial_target to = {.node = node, .address = address, .source = d->config->source};
    return fetch_start(d->loop, tls, &to, d->wants, d->want_count, on_fetched, d, &d->fetch, err);
}

/* The next one to ask; false when all were. */
static bool next_name(struct depot *d, name_text ret_name, const char **ret_address, bool *ret_any_role)
{
    *ret_any_role = d->server == d->config->server_count;
    *ret_address = "";
    if (*ret_any_role) {
        memcpy(ret_name, d->also, sizeof(d->also));
        d->also[0] = '\0';
        return ret_name[0] != '\0';
    }
    const struct client_server *s = &d->config->servers[d->server++];
    memcpy(ret_name, s->node, sizeof(s->node));
    *ret_address = s->address;
    return true;
}

static void next_server(struct depot *d)
{
    name_text name;
    const char *address;
    bool any_role;
    while (next_name(d, name, &address, &any_role)) {
        struct err err = {0};
        int rc = ask(d, name, address, any_role, &err);
        if (rc == 0)
            return;
        err_set(&d->why, rc, "documents from %s: %s", name, err.text);
    }
    depot_done done = d->done;
    d->done = NULL;
    done(d->arg, &d->why);
}

int depot_fetch(struct depot *d, const struct fetch_want *wants, size_t count, const char *also, depot_done done,
                void *arg, struct err *err)
{
    if (d->done != NULL)
        return err_set(err, ERR_BUSY, "another fetch is running");
    if (d->config->server_count == 0 && also == NULL)
        return err_set(err, ERR_UNAVAILABLE, "no configuration server is configured");
    if (count > FETCH_WANTS_MAX)
        return err_set(err, ERR_TOO_LONG, "%zu documents wanted at once", count);
    memcpy(d->wants, wants, count * sizeof(*wants));
    d->want_count = count;
    d->server = 0;
    words_copy(d->also, sizeof(d->also), also != NULL ? also : "");
    d->done = done;
    d->arg = arg;
    d->why = (struct err){0};
    next_server(d);
    return 0;
}

void depot_cancel(struct depot *d)
{
    fetch_free(d->fetch);
    d->fetch = NULL;
    d->done = NULL;
}

struct wait {
    bool over;
    struct err err;
};

static void on_waited(void *arg, const struct err *err)
{
    struct wait *w = arg;
    w->over = true;
    if (err != NULL)
        w->err = *err;
}

int depot_fetch_now(struct depot *d, const struct fetch_want *wants, size_t count, const char *also, struct err *err)
{
    struct wait w = {0};
    TRY(depot_fetch(d, wants, count, also, on_waited, &w, err));
    while (!w.over)
        uv_run(d->loop, UV_RUN_ONCE);
    if (w.err.code != 0 && err != NULL)
        *err = w.err;
    return w.err.code;
}
