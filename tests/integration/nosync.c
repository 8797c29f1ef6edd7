/* nosync: preloaded into a node, makes its syncs do nothing, so that durable_test can see that it would notice. */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

/* LMDB writes its meta page through a descriptor that syncs by itself. */
static int open_plain(const char *path, int flags, va_list more)
{
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags & ~O_SYNC, mode);
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int fd = open_plain(path, flags, more);
    va_end(more);
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int fd = open_plain(path, flags, more);
    va_end(more);
    return fd;
}
