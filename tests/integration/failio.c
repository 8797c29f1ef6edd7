/* failio: preloaded into a node, fails chosen storage calls on the store's file, as storage_test says in a shared page.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define META_END 8192 /* LMDB's two meta pages come first */

enum { OFF, FAIL_EIO, FAIL_ENOSPC, FAIL_SHORT, FAIL_SYNC, FAIL_META };

struct order { /* little endian, read and written by the test while the node runs */
    _Atomic uint32_t
        how; /* an enum value: SYNC is for syncs, META for writes of a meta page, the others for all writes */
    _Atomic uint32_t skip, count;           /* fails `count` such calls after `skip` good ones */
    _Atomic uint32_t writes, syncs, failed; /* counted since the test set them to 0 */
};

static struct order *order;
static char store_path[4096];

__attribute__((constructor)) static void attach(void)
{
    const char *page = getenv("ENFILADE_FAILIO"), *store = getenv("ENFILADE_FAILIO_STORE");
    int fd = page != NULL && store != NULL ? open(page, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, sizeof(*order), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0)
        (void)close(fd);
    if (p == MAP_FAILED || strlen(store) >= sizeof(store_path))
        return;
    memcpy(store_path, store, strlen(store) + 1);
    order = p;
}

static int is_store(int fd)
{
    struct stat a, b;
    return order != NULL && fstat(fd, &a) == 0 && stat(store_path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* How this call is to fail, or OFF. */
static uint32_t judge(int fd, bool is_sync, off_t at)
{
    if (!is_store(fd))
        return OFF;
    atomic_fetch_add(is_sync ? &order->syncs : &order->writes, 1);
    uint32_t how = atomic_load(&order->how);
    if (how == OFF || (how == FAIL_SYNC) != is_sync || (how == FAIL_META && at >= META_END))
        return OFF;
    if (atomic_load(&order->skip) > 0) {
        atomic_fetch_sub(&order->skip, 1);
        return OFF;
    }
    if (atomic_load(&order->count) == 0)
        return OFF;
    atomic_fetch_sub(&order->count, 1);
    atomic_fetch_add(&order->failed, 1);
    return how;
}

static int error_of(uint32_t how)
{
    errno = how == FAIL_ENOSPC ? ENOSPC : EIO;
    return -1;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    uint32_t how = judge(fd, false, at);
    if (how == FAIL_SHORT)
        return syscall(SYS_pwrite64, fd, data, len / 2, at);
    return how == OFF ? syscall(SYS_pwrite64, fd, data, len, at) : error_of(how);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    return pwrite(fd, data, len, at);
}

ssize_t write(int fd, const void *data, size_t len)
{
    uint32_t how = judge(fd, false, lseek(fd, 0, SEEK_CUR));
    if (how == FAIL_SHORT)
        return syscall(SYS_write, fd, data, len / 2);
    return how == OFF ? syscall(SYS_write, fd, data, len) : error_of(how);
}

ssize_t writev(int fd, const struct iovec *at, int count)
{
    uint32_t how = judge(fd, false, lseek(fd, 0, SEEK_CUR));
    if (how == FAIL_SHORT) {
        struct iovec half = {at[0].iov_base, at[0].iov_len / 2};
        return syscall(SYS_writev, fd, &half, 1);
    }
    return how == OFF ? syscall(SYS_writev, fd, at, count) : error_of(how);
}

int fdatasync(int fd)
{
    uint32_t how = judge(fd, true, 0);
    return how == OFF ? (int)syscall(SYS_fdatasync, fd) : error_of(how);
}

int fsync(int fd)
{
    uint32_t how = judge(fd, true, 0);
    return how == OFF ? (int)syscall(SYS_fsync, fd) : error_of(how);
}
