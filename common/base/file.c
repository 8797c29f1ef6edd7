/* file: whole files, read with a limit and replaced atomically. */
#include "common/base/yaml.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, const char *path, size_t max, struct buf *b, struct err *err)
{
    uint8_t chunk[16384];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (n == 0)
            return 0;
        buf_put(b, BYTES(chunk, (size_t)n));
        if (!buf_ok(b))
            return err_set(err, ERR_TOO_LONG, "%s: longer than %zu bytes", path, max);
    }
}

int file_read(const char *path, size_t max, struct buf *ret_buf, struct err *err)
{
    buf_init(ret_buf, max);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "%s: no such file; check the path", path);
    if (fd < 0)
        return err_set(err, ERR_IO, "%s: cannot be opened: %s; check its mode and owner", path, strerror(errno));
    int rc = read_all(fd, path, max, ret_buf, err);
    (void)close(fd);
    if (rc != 0)
        buf_done(ret_buf);
    return rc;
}

static bool write_all(int fd, struct bytes data)
{
    while (data.len > 0) {
        ssize_t n = write(fd, data.p, data.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data = BYTES(data.p + n, data.len - (size_t)n);
    }
    return true;
}

static bool sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];
    if (slash == NULL)
        (void)snprintf(folder, sizeof(folder), ".");
    else
        (void)snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = fsync(fd) == 0;
    (void)close(fd);
    return ok;
}

int file_write(const char *path, struct bytes data, unsigned mode, struct err *err)
{
    char temporary[4096];
    int n = snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof(temporary))
        return err_set(err, ERR_TOO_LONG, "%s: the path is too long", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_IO, "%s: cannot be created: %s; check the folder", temporary, strerror(errno));
    bool ok = fchmod(fd, (mode_t)mode) == 0 && write_all(fd, data) && fsync(fd) == 0;
    int saved = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        saved = errno;
    }
    if (ok && rename(temporary, path) != 0) {
        ok = false;
        saved = errno;
    }
    if (!ok) {
        (void)unlink(temporary);
        return err_set(err, ERR_IO, "%s: cannot be written: %s", path, strerror(saved));
    }
    if (!sync_folder(path))
        return err_set(err, ERR_IO, "%s: its folder cannot be synced: %s", path, strerror(errno));
    return 0;
}
