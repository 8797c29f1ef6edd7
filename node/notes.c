/* notes: documents that nobody has judged yet. */
#include "node/notes.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int grow(struct notes *n)
{
    size_t size = n->size == 0 ? 16 : n->size * 2;
    if (n->count < n->size)
        return 0;
    if (size > NOTES_MAX)
        return ERR_FULL;
    struct note_item *at = realloc(n->at, size * sizeof(*at));
    if (at == NULL)
        return ERR_NOMEM;
    n->at = at;
    n->size = size;
    return 0;
}

int notes_add(struct notes *n, struct bytes text, const char *source)
{
    TRY(grow(n));
    uint8_t *copy = malloc(text.len + 1);
    char *from = strdup(source);
    if (copy == NULL || from == NULL) {
        free(copy);
        free(from);
        return ERR_NOMEM;
    }
    if (text.len > 0)
        memcpy(copy, text.p, text.len);
    n->at[n->count++] = (struct note_item){.text = BYTES(copy, text.len), .source = from};
    return 0;
}

static void drop(struct notes *n, size_t i)
{
    free((void *)(uintptr_t)n->at[i].text.p);
    free(n->at[i].source);
    n->at[i] = n->at[--n->count];
}

void notes_done(struct notes *n)
{
    while (n->count > 0)
        drop(n, n->count - 1);
    free(n->at);
    *n = (struct notes){.count = 0};
}

/* ---- a folder */

static bool is_wanted(const char *name)
{
    size_t len = strlen(name);
    return name[0] != '.' &&
           ((len > 5 && strcmp(name + len - 5, ".note") == 0) || (len > 6 && strcmp(name + len - 6, ".chain") == 0));
}

static int read_one(struct notes *n, const char *folder, const char *name, struct err *err)
{
    struct buf path, text;
    buf_init(&path, 4096);
    buf_init(&text, NOTE_MAX);
    buf_printf(&path, "%s/%s", folder, name);
    int rc = buf_cstr(&path) != NULL ? file_read(buf_cstr(&path), NOTE_MAX, &text, err)
                                     : err_set(err, ERR_TOO_LONG, "%s: the path is too long", folder);
    if (rc == 0) {
        rc = notes_add(n, buf_view(&text), buf_cstr(&path));
        if (rc != 0)
            (void)err_set(err, rc, "%s: more than %u documents, or no memory for them", folder, NOTES_MAX);
    }
    buf_done(&path);
    buf_done(&text);
    return rc;
}

int notes_read_folder(struct notes *n, const char *folder, struct err *err)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return err_set(err, ERR_CONFIG, "field documents: folder %s cannot be read: %s", folder, strerror(errno));
    int rc = 0;
    for (struct dirent *e = readdir(dir); e != NULL && rc == 0; e = readdir(dir))
        if (is_wanted(e->d_name))
            rc = read_one(n, folder, e->d_name, err);
    (void)closedir(dir);
    return rc;
}

/* ---- order */

/* A policy comes before the envelopes that it judges, and the status before the envelopes that it withdraws. */
static int rank(enum document_type type)
{
    static const enum document_type order[] = {DOCUMENT_ROOT,   DOCUMENT_ROSTER,   DOCUMENT_INVENTORY, DOCUMENT_POLICY,
                                               DOCUMENT_STATUS, DOCUMENT_ENVELOPE, DOCUMENT_CHAIN};
    int i = 0;
    while (i < (int)(sizeof(order) / sizeof(order[0])) && order[i] != type)
        i++;
    return i;
}

static int compare(const void *a_, const void *b_)
{
    const struct note_item *a = a_, *b = b_;
    int by_type = rank(a->claim.type) - rank(b->claim.type);
    if (by_type != 0)
        return by_type;
    return a->claim.version < b->claim.version ? -1 : a->claim.version > b->claim.version ? 1 : 0;
}

static int look(struct note_item *item, struct err *err)
{
    struct bytes text = item->text;
    TRY(document_peek(item->text, &item->claim, err));
    if (item->claim.type != DOCUMENT_CHAIN)
        TRY(note_text(item->text, &text, err));
    sha256(text, item->hash);
    return 0;
}

void notes_sort(struct notes *n, struct err *err)
{
    for (size_t i = 0; i < n->count;) {
        struct err why = {.code = 0};
        int rc = look(&n->at[i], &why);
        if (rc == 0) {
            i++;
            continue;
        }
        if (err->code == 0)
            (void)err_set(err, rc, "%s: %s", n->at[i].source, why.text);
        drop(n, i);
    }
    if (n->count > 0)
        qsort(n->at, n->count, sizeof(*n->at), compare);
}
