/* door: the unix sockets that tokend listens on. */
#include "node/token/door.h"
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

static int check_folder(const char *path, gid_t *ret_group, struct err *err)
{
    char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct stat st;
    (void)snprintf(copy, sizeof(copy), "%s", path);
    const char *folder = dirname(copy);
    if (stat(folder, &st) != 0)
        return err_set(err, ERR_CONFIG, "socket: folder %s: %s", folder, strerror(errno));
    if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return err_set(err, ERR_CONFIG,
                       "socket: folder %s must belong to uid %u or root and be writable by its owner only", folder,
                       (unsigned)geteuid());
    *ret_group = st.st_gid;
    return 0;
}

/* A socket file without a listener is what a crash left behind. */
static int remove_dead(int fd, const struct sockaddr_un *at, struct err *err)
{
    struct stat st;
    if (lstat(at->sun_path, &st) != 0)
        return errno == ENOENT ? 0 : err_set(err, ERR_IO, "socket: %s: %s", at->sun_path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_CONFIG, "socket: %s exists and is no socket", at->sun_path);
    if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 || errno != ECONNREFUSED)
        return err_set(err, ERR_USAGE, "socket: %s is in use: another tokend runs", at->sun_path);
    if (unlink(at->sun_path) != 0)
        return err_set(err, ERR_IO, "socket: %s: %s", at->sun_path, strerror(errno));
    return 0;
}

static int bind_at(int fd, const struct sockaddr_un *at, uid_t node, gid_t group, struct err *err)
{
    bool own = node == geteuid();
    if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) != 0 ||
        (!own && chown(at->sun_path, (uid_t)-1, group) != 0) || chmod(at->sun_path, own ? 0600 : 0660) != 0 ||
        listen(fd, BACKLOG) != 0)
        return err_set(err, ERR_IO, "socket: %s: %s", at->sun_path, strerror(errno));
    return 0;
}

int door_open(const char *path, uid_t node, int *ret_fd, struct err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    gid_t group = 0;
    if (strlen(path) >= sizeof(at.sun_path))
        return err_set(err, ERR_CONFIG, "socket: %s is too long", path);
    memcpy(at.sun_path, path, strlen(path) + 1);
    TRY(check_folder(path, &group, err));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, ERR_IO, "socket: %s", strerror(errno));
    int rc = remove_dead(fd, &at, err);
    if (rc == 0)
        rc = bind_at(fd, &at, node, group, err);
    if (rc != 0)
        (void)close(fd);
    else
        *ret_fd = fd;
    return rc;
}

int door_accept(int fd, uid_t node, int *ret_fd, struct err *err)
{
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC); /* blocking: the workers wait in recv */
    if (peer < 0)
        return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED
                   ? err_set(err, ERR_BUSY, "nobody there")
                   : err_set(err, ERR_IO, "accept: %s", strerror(errno));
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0 || who.uid != node) {
        (void)close(peer);
        return err_set(err, ERR_IDENTITY, "a process of uid %u came; the node runs as uid %u", (unsigned)who.uid,
                       (unsigned)node);
    }
    *ret_fd = peer;
    return 0;
}
