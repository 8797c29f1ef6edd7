/* softhsm: a private copy of SoftHSM's token folder for one process. */
#include "node/token/softhsm.h"
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_OBJECT "token.object"
#define SUFFIX ".copy-" /* of the socket's name; the process number follows */

static int join(char ret[PATH_MAX], const char *folder, const char *name, struct err *err)
{
    int n = snprintf(ret, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX ? 0 : err_set(err, ERR_CONFIG, "%s/%s: the path is too long", folder, name);
}

static int copy_path(const struct tokend_config *c, pid_t pid, char ret[PATH_MAX], struct err *err)
{
    int n = snprintf(ret, PATH_MAX, "%s" SUFFIX "%ld", c->socket, (long)pid);
    return n > 0 && n < PATH_MAX ? 0 : err_set(err, ERR_CONFIG, "socket: the path is too long");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    (void)remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

void softhsm_drop(const struct tokend_config *c, pid_t pid)
{
    char path[PATH_MAX];
    if (c->softhsm_conf[0] != '\0' && copy_path(c, pid, path, NULL) == 0)
        remove_tree(path);
}

void softhsm_drop_all(const struct tokend_config *c)
{
    char copy[TOKEND_PATH_MAX], prefix[TOKEND_PATH_MAX + sizeof(SUFFIX)], path[PATH_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", c->socket);
    (void)snprintf(prefix, sizeof(prefix), "%s" SUFFIX, basename(copy));
    (void)snprintf(copy, sizeof(copy), "%s", c->socket);
    const char *folder = dirname(copy);
    DIR *d = c->softhsm_conf[0] != '\0' ? opendir(folder) : NULL;
    if (d == NULL)
        return;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && join(path, folder, e->d_name, NULL) == 0)
            remove_tree(path);
    (void)closedir(d);
}

/* "directories.tokendir = PATH" */
static int token_folder(const char *conf, char ret[PATH_MAX], struct err *err)
{
    static const char key[] = "directories.tokendir";
    struct buf text;
    int rc = file_read(conf, 64 * 1024, &text, err);
    const char *at = rc == 0 ? buf_cstr(&text) : NULL;
    while (at != NULL && strncmp(at, key, sizeof(key) - 1) != 0)
        at = strchr(at, '\n') != NULL ? strchr(at, '\n') + 1 : NULL;
    if (at != NULL) {
        at += sizeof(key) - 1;
        at += strspn(at, " \t=");
        size_t len = strcspn(at, "\r\n");
        while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
            len--;
        (void)snprintf(ret, PATH_MAX, "%.*s", len < PATH_MAX ? (int)len : 0, at);
    }
    buf_done(&text);
    if (rc == 0 && (at == NULL || ret[0] != '/'))
        rc = err_set(err, ERR_CONFIG, "softhsm_conf: %s has no directories.tokendir with an absolute path", conf);
    return rc;
}

static int copy_file(const char *from, const char *to, struct err *err)
{
    struct buf data;
    int rc = file_read(from, SOFTHSM_FILE_MAX, &data, err);
    FILE *f = rc == 0 ? fopen(to, "wxe") : NULL; /* no fsync: it lives for milliseconds */
    if (rc == 0 && (f == NULL || (data.len > 0 && fwrite(data.p, 1, data.len, f) != data.len)))
        rc = err_set(err, ERR_IO, "%s: %s", to, strerror(errno));
    if (f != NULL && fclose(f) != 0 && rc == 0)
        rc = err_set(err, ERR_IO, "%s: %s", to, strerror(errno));
    buf_done(&data);
    return rc;
}

/* Files and, one level down, the folders of the tokens. */
static int copy_folder(const char *from, const char *to, bool deeper, unsigned *left, struct err *err)
{
    char source[PATH_MAX], target[PATH_MAX];
    struct stat st;
    int rc = 0;
    DIR *d = opendir(from);
    if (d == NULL || mkdir(to, 0700) != 0)
        rc = err_set(err, ERR_IO, "copy of %s to %s: %s", from, to, strerror(errno));
    for (struct dirent *e = rc == 0 ? readdir(d) : NULL; rc == 0 && e != NULL; e = readdir(d)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if ((*left)-- == 0)
            rc = err_set(err, ERR_FULL, "%s holds more than %d files", from, SOFTHSM_FILES_MAX);
        else if ((rc = join(source, from, e->d_name, err)) != 0 || (rc = join(target, to, e->d_name, err)) != 0)
            break;
        else if (lstat(source, &st) != 0)
            rc = err_set(err, ERR_IO, "%s: %s", source, strerror(errno));
        else if (S_ISREG(st.st_mode))
            rc = copy_file(source, target, err);
        else if (S_ISDIR(st.st_mode) && deeper)
            rc = copy_folder(source, target, false, left, err);
    }
    if (d != NULL)
        (void)closedir(d);
    return rc;
}

static int fill(const struct tokend_config *c, const char *folder, struct tokend_config *ret, struct err *err)
{
    char from[PATH_MAX] = "", real[PATH_MAX], tokens[PATH_MAX], conf[PATH_MAX];
    unsigned left = SOFTHSM_FILES_MAX;
    struct buf text;
    TRY(token_folder(c->softhsm_conf, from, err));
    if (mkdir(folder, 0700) != 0 || realpath(folder, real) == NULL)
        return err_set(err, ERR_IO, "%s: %s", folder, strerror(errno));
    TRY(join(tokens, real, "tokens", err));
    TRY(join(conf, real, "softhsm2.conf", err));
    if (strlen(conf) >= sizeof(ret->softhsm_conf))
        return err_set(err, ERR_CONFIG, "%s: the path is too long", conf);
    TRY(copy_folder(from, tokens, true, &left, err));
    buf_init(&text, PATH_MAX + 200);
    buf_printf(&text,
               "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
               tokens);
    int rc = buf_ok(&text) ? file_write(conf, buf_view(&text), 0600, err) : err_set(err, ERR_NOMEM, "no memory");
    buf_done(&text);
    if (rc == 0) {
        *ret = *c;
        memcpy(ret->softhsm_conf, conf, strlen(conf) + 1);
    }
    return rc;
}

int softhsm_copy(const struct tokend_config *c, struct tokend_config *ret, struct err *err)
{
    char folder[PATH_MAX];
    if (c->softhsm_conf[0] == '\0') {
        *ret = *c;
        return 0;
    }
    TRY(copy_path(c, getpid(), folder, err));
    remove_tree(folder); /* a dead process had our number */
    int rc = fill(c, folder, ret, err);
    if (rc != 0) {
        remove_tree(folder);
        return err_wrap(err, rc, "softhsm_conf: no private copy");
    }
    return 0;
}

/* ---- back, after a change of PIN */

static int put_back_one(const char *from, const char *to, const char *name, struct err *err)
{
    char token[PATH_MAX], source[PATH_MAX], target[PATH_MAX];
    struct buf data;
    TRY(join(token, from, name, err));
    TRY(join(source, token, TOKEN_OBJECT, err));
    TRY(join(token, to, name, err));
    TRY(join(target, token, TOKEN_OBJECT, err));
    int rc = file_read(source, SOFTHSM_FILE_MAX, &data, err);
    if (rc == 0)
        rc = file_write(target, buf_view(&data), 0600, err);
    buf_done(&data);
    return rc;
}

int softhsm_put_back(const struct tokend_config *c, const struct tokend_config *copy, struct err *err)
{
    char from[PATH_MAX] = "", to[PATH_MAX] = "";
    if (c->softhsm_conf[0] == '\0')
        return 0;
    TRY(token_folder(copy->softhsm_conf, from, err));
    TRY(token_folder(c->softhsm_conf, to, err));
    DIR *d = opendir(from);
    if (d == NULL)
        return err_set(err, ERR_IO, "%s: %s", from, strerror(errno));
    int rc = 0;
    for (struct dirent *e = readdir(d); rc == 0 && e != NULL; e = readdir(d))
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            rc = put_back_one(from, to, e->d_name, err);
    (void)closedir(d);
    return rc;
}
