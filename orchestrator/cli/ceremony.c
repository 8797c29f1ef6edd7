/* ceremony: keys, signatures and folders of a test network. */
#include "orchestrator/cli/ceremony.h"
#include "orchestrator/depot.h"
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define INVENTORY_SPAN_MS (30 * DAY_MS)

int ceremony_path(const struct ceremony *c, char ret[PATH_MAX], struct err *err, const char *format, ...)
{
    va_list args;
    int head = snprintf(ret, PATH_MAX, "%s/", c->folder);
    if (head < 0 || head >= PATH_MAX)
        return err_set(err, ERR_USAGE, "the folder's path is too long");
    va_start(args, format);
    int n = vsnprintf(ret + head, (size_t)(PATH_MAX - head), format, args);
    va_end(args);
    return n >= 0 && n < PATH_MAX - head ? 0 : err_set(err, ERR_USAGE, "the folder's path is too long");
}

int ceremony_folder(const struct ceremony *c, const char *name, struct err *err)
{
    char path[PATH_MAX];
    TRY(ceremony_path(c, path, err, "%s", name));
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "cannot make %s: %s", path, strerror(errno));
    return 0;
}

/* ---- keys */

static void key_name(const struct ceremony *c, const char *role, char ret[NOTE_NAME_MAX + 1])
{
    snprintf(ret, NOTE_NAME_MAX + 1, "%s/%s", c->network, role);
    char *dash = strchr(ret + strlen(c->network) + 1, '-');
    if (dash != NULL)
        *dash = '/';
}

int ceremony_key_new(const struct ceremony *c, const char *role, struct note_key *ret_vkey, struct err *err)
{
    char path[PATH_MAX], name[NOTE_NAME_MAX + 1];
    uint8_t public[ED25519_PUBLIC_LEN];
    struct ed25519_key *key = NULL;
    TRY(ceremony_path(c, path, err, "keys/%s.pem", role));
    int rc = ed25519_key_new(&key);
    if (rc != 0)
        return err_set(err, rc, "no key could be made");
    rc = ed25519_key_save(key, path, err);
    ed25519_key_public(key, public);
    ed25519_key_free(key);
    key_name(c, role, name);
    if (rc == 0 && note_key_make(name, public, ret_vkey) != 0)
        rc = err_set(err, ERR_FORMAT, "'%s' cannot be the name of a key", name);
    return rc;
}

static int sign_once(const struct ceremony *c, struct bytes from, const char *role, struct buf *ret, struct err *err)
{
    char path[PATH_MAX], name[NOTE_NAME_MAX + 1];
    struct ed25519_key *key = NULL;
    TRY(ceremony_path(c, path, err, "keys/%s.pem", role));
    TRY(ed25519_key_load(path, &key, err));
    key_name(c, role, name);
    int rc = note_sign(from, name, key, ret, err);
    ed25519_key_free(key);
    return rc;
}

int ceremony_sign(const struct ceremony *c, struct bytes text, const char *const *roles, size_t role_count,
                  struct buf *ret_note, struct err *err)
{
    struct buf now;
    buf_init(&now, NOTE_MAX);
    buf_put(&now, text);
    int rc = buf_ok(&now) ? 0 : err_set(err, ERR_TOO_LONG, "the text is too long");
    for (size_t i = 0; rc == 0 && i < role_count; i++) {
        struct buf next;
        buf_init(&next, NOTE_MAX);
        rc = sign_once(c, buf_view(&now), roles[i], &next, err);
        buf_done(&now);
        now = next;
    }
    *ret_note = now;
    if (rc != 0)
        buf_done(ret_note);
    return rc;
}

/* ---- publishing */

static int file_name(struct bytes note, char ret[NAME_MAX_LEN * 2 + 16], struct err *err)
{
    struct document_claim claim;
    TRY(document_peek(note, &claim, err));
    snprintf(ret, NAME_MAX_LEN * 2 + 16, "%s%s%s.%s", document_type_name(claim.type), claim.name[0] != '\0' ? "-" : "",
             claim.name, claim.type == DOCUMENT_CHAIN ? "chain" : "note");
    return 0;
}

static int publish_to(const struct ceremony *c, const char *folder, const char *name, struct bytes note,
                      struct err *err)
{
    char path[PATH_MAX];
    struct stat st;
    TRY(ceremony_path(c, path, err, "%s", folder));
    if (stat(path, &st) != 0)
        return 0; /* this network has no such part */
    TRY(ceremony_path(c, path, err, "%s/%s", folder, name));
    return file_write(path, note, 0644, err);
}

static int publish_to_nodes(const struct ceremony *c, const char *name, struct bytes note, struct err *err)
{
    char path[PATH_MAX];
    TRY(ceremony_path(c, path, err, "nodes"));
    DIR *dir = opendir(path);
    if (dir == NULL)
        return 0;
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(dir)) != NULL;) {
        char folder[NAME_MAX_LEN + 32];
        if (!name_ok(bytes_str(e->d_name)))
            continue;
        snprintf(folder, sizeof(folder), "nodes/%.*s/documents", NAME_MAX_LEN, e->d_name);
        rc = publish_to(c, folder, name, note, err);
    }
    closedir(dir);
    return rc;
}

int ceremony_publish(const struct ceremony *c, struct bytes note, struct err *err)
{
    char name[NAME_MAX_LEN * 2 + 16];
    TRY(file_name(note, name, err));
    TRY(publish_to(c, "config", name, note, err));
    TRY(publish_to(c, "client/documents", name, note, err));
    return publish_to_nodes(c, name, note, err);
}

int ceremony_offer(struct ceremony *c, struct bytes note, struct err *err)
{
    enum shelf_outcome outcome;
    const struct document *d;
    return shelf_offer(c->shelf, note, "new document", now_ms(), &outcome, &d, err);
}

/* ---- an existing network */

static int read_config(struct ceremony *c, struct err *err)
{
    char path[PATH_MAX];
    struct buf root;
    struct document_claim claim;
    enum shelf_outcome outcome;
    const struct document *d;
    buf_init(&root, NOTE_MAX);
    TRY(ceremony_path(c, path, err, "config/root.note"));
    int rc = file_read(path, NOTE_MAX, &root, err);
    if (rc == 0)
        rc = document_peek(buf_view(&root), &claim, err);
    if (rc == 0) {
        memcpy(c->network, claim.network, sizeof(c->network));
        rc = shelf_new(c->network, NULL, &c->shelf);
    }
    if (rc == 0)
        rc = shelf_offer(c->shelf, buf_view(&root), path, now_ms(), &outcome, &d, err);
    buf_done(&root);
    return rc;
}

static int read_folder(struct ceremony *c, struct err *err)
{
    char path[PATH_MAX];
    TRY(ceremony_path(c, path, err, "config"));
    return depot_load(c->shelf, path, err);
}

int ceremony_open(const char *folder, struct ceremony *ret, struct err *err)
{
    *ret = (struct ceremony){.folder = folder};
    int rc = read_config(ret, err);
    if (rc == 0)
        rc = read_folder(ret, err);
    if (rc != 0) {
        ceremony_close(ret);
        return err_wrap(err, rc, "%s is not a network made by `enfilade network init`", folder);
    }
    return 0;
}

void ceremony_close(struct ceremony *c)
{
    shelf_free(c->shelf);
    c->shelf = NULL;
}

static int sign_and_publish(struct ceremony *c, struct bytes text, const char *const *roles, size_t count,
                            struct err *err)
{
    struct buf note;
    TRY(ceremony_sign(c, text, roles, count, &note, err));
    int rc = ceremony_offer(c, buf_view(&note), err);
    if (rc == 0)
        rc = ceremony_publish(c, buf_view(&note), err);
    buf_done(&note);
    return rc;
}

int ceremony_status(struct ceremony *c, const struct renew_changes *changes, uint64_t span_ms, struct err *err)
{
    static const char *const roles[] = {"status", "root-a", "root-b"};
    struct buf text;
    TRY(renew_status(c->shelf, changes, now_ms(), span_ms, &text, err));
    bool lifts = changes->lift_halts || changes->lift_revocations;
    int rc = sign_and_publish(c, buf_view(&text), roles, lifts ? 1 + CEREMONY_ROOT_THRESHOLD : 1, err);
    buf_done(&text);
    return rc;
}

int ceremony_inventory(struct ceremony *c, const struct device *device, struct err *err)
{
    static const char *const roles[] = {"inventory"};
    static const struct renew_changes none;
    const struct document *old = shelf_find(c->shelf, DOCUMENT_INVENTORY, BYTES_NONE);
    struct buf text;
    TRY(renew_inventory(c->network, old, device, now_ms(), INVENTORY_SPAN_MS, &text, err));
    int rc = sign_and_publish(c, buf_view(&text), roles, 1, err);
    buf_done(&text);
    return rc == 0 ? ceremony_status(c, &none, DAY_MS, err) : rc;
}
