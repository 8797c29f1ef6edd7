/* master: tokend's parent process. */
#include "node/token/master.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "node/token/door.h"
#include "node/token/pkcs11.h"
#include "node/token/serve.h"
#include "node/token/softhsm.h"
#include "proto/frame.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_MAX (MASTER_CONNECTIONS_MAX * TOKEND_WORKERS_MAX + MASTER_LEAVES_MAX)
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define STOP_MS 2000
#define PROBE_SECONDS 60
#define LEAF_CHILD (-1)

struct child {
    pid_t pid;      /* 0: free */
    int connection; /* index, or LEAF_CHILD */
    bool ready;
};

struct connection {
    int fd;           /* -1: closed; the slot is free once it has no children */
    unsigned missing; /* workers to be made at not_before_ms */
    uint64_t not_before_ms;
    unsigned backoff_ms;
    bool owes_died; /* TOKEN_DIED could not be sent yet */
};

struct master {
    const struct tokend_config *config;
    int signals, ready[2]; /* signalfd; children write their pid when they serve */
    int door, leaf_door;
    char leaf_path[TOKEND_PATH_MAX + 8];
    struct connection connection[MASTER_CONNECTIONS_MAX];
    struct child child[CHILDREN_MAX];
    bool stop;
};

static uint64_t now_ms(void)
{
    struct clock c = clock_system();
    return c.monotonic_ms(c.arg);
}

static unsigned count_children(const struct master *m, int connection)
{
    unsigned n = 0;
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        n += m->child[i].pid != 0 && m->child[i].connection == connection;
    return n;
}

static struct child *find_child(struct master *m, pid_t pid)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (m->child[i].pid == pid)
            return &m->child[i];
    return NULL;
}

/* ---- children */

/* The child's side: dies with the master, plain signals, three descriptors and its own. */
static void settle(pid_t master, int fd, int ready)
{
    sigset_t none;
    (void)sigemptyset(&none);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != master ||
        sigprocmask(SIG_SETMASK, &none, NULL) != 0)
        _exit(EXIT_INTERNAL);
    int high = fcntl(ready, F_DUPFD_CLOEXEC, 10), from = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (high < 0 || from < 0 || dup3(from, 3, O_CLOEXEC) != 3 || dup3(high, 4, O_CLOEXEC) != 4 ||
        close_range(5, ~0u, 0) != 0)
        _exit(EXIT_INTERNAL);
}

static int spawn(struct master *m, int connection, int fd)
{
    struct child *child = find_child(m, 0);
    pid_t self = getpid(), pid = child != NULL ? fork() : -1;
    if (pid == 0) {
        settle(self, fd, m->ready[1]);
        _exit(connection == LEAF_CHILD ? serve_leaf(m->config, 3) : serve_requests(m->config, 3, 4));
    }
    if (pid < 0) {
        log_error("cannot make a worker: %s", strerror(errno));
        return ERR_FULL;
    }
    *child = (struct child){pid, connection, false};
    return 0;
}

static void spawn_missing(struct master *m, int i)
{
    struct connection *c = &m->connection[i];
    while (c->fd >= 0 && c->missing > 0 && now_ms() >= c->not_before_ms) {
        if (spawn(m, i, c->fd) != 0) {
            c->not_before_ms = now_ms() + BACKOFF_MAX_MS;
            return;
        }
        c->missing--;
    }
}

static void send_died(struct connection *c)
{
    struct message m = {.type = MESSAGE_TOKEN_DIED};
    struct buf out;
    buf_init(&out, 64);
    c->owes_died = record_pack(&m, &out, NULL) == 0 && send(c->fd, out.p, out.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
                   errno == EAGAIN;
    buf_done(&out);
}

static void hang_up(struct master *m, int i)
{
    (void)close(m->connection[i].fd); /* the workers read the end of it by themselves */
    m->connection[i] = (struct connection){.fd = -1};
    log_info("the node closed its connection");
}

static void on_worker_gone(struct master *m, const struct child *child, int status)
{
    struct connection *c = &m->connection[child->connection];
    bool exited = WIFEXITED(status);
    if (m->stop || c->fd < 0 || (exited && WEXITSTATUS(status) == SERVE_EXIT_CLOSED))
        return;
    c->missing++;
    if (exited && WEXITSTATUS(status) == SERVE_EXIT_RECYCLE)
        return;
    if (!child->ready) {
        c->backoff_ms = c->backoff_ms == 0 ? BACKOFF_MIN_MS : 2 * c->backoff_ms;
        if (c->backoff_ms > BACKOFF_MAX_MS)
            c->backoff_ms = BACKOFF_MAX_MS;
        c->not_before_ms = now_ms() + c->backoff_ms;
    }
    log_warn("worker %d died (%s %d)", (int)child->pid, exited ? "exit" : "signal",
             exited ? WEXITSTATUS(status) : WTERMSIG(status));
    send_died(c);
}

static void reap(struct master *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child *child = find_child(m, pid);
        if (child == NULL)
            continue;
        struct child gone = *child;
        softhsm_drop(m->config, pid); /* one that was killed while it logged in */
        *child = (struct child){0};
        if (gone.connection != LEAF_CHILD)
            on_worker_gone(m, &gone, status);
    }
}

/* ---- events */

static void on_ready(struct master *m)
{
    pid_t pid;
    while (read(m->ready[0], &pid, sizeof(pid)) == (ssize_t)sizeof(pid)) {
        struct child *child = pid > 0 ? find_child(m, pid) : NULL;
        if (child == NULL || child->connection == LEAF_CHILD)
            continue;
        child->ready = true;
        m->connection[child->connection].backoff_ms = 0;
    }
}

static void on_signal(struct master *m)
{
    struct signalfd_siginfo info;
    while (read(m->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        m->stop |= info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
    reap(m); /* signals of one kind melt together: look at all children each time */
}

static int free_connection(const struct master *m)
{
    for (int i = 0; i < MASTER_CONNECTIONS_MAX; i++)
        if (m->connection[i].fd < 0 && count_children(m, i) == 0)
            return i;
    return -1;
}

static void on_door(struct master *m)
{
    struct err err = {0};
    int fd, i = free_connection(m), rc = door_accept(m->door, m->config->uid, &fd, &err);
    if (rc != 0) {
        if (rc != ERR_BUSY)
            log_warn("%s", err.text);
        return;
    }
    m->connection[i] = (struct connection){.fd = fd, .missing = m->config->workers};
    log_info("the node connected");
}

static void on_leaf_door(struct master *m)
{
    struct err err = {0};
    int fd, rc = door_accept(m->leaf_door, m->config->uid, &fd, &err);
    if (rc == 0) {
        (void)spawn(m, LEAF_CHILD, fd);
        (void)close(fd);
    } else if (rc != ERR_BUSY) {
        log_warn("%s", err.text);
    }
}

static int next_timeout(const struct master *m)
{
    uint64_t now = now_ms(), wait = UINT64_MAX;
    for (int i = 0; i < MASTER_CONNECTIONS_MAX; i++) {
        const struct connection *c = &m->connection[i];
        if (c->fd >= 0 && c->missing > 0) {
            uint64_t left = c->not_before_ms > now ? c->not_before_ms - now : 0;
            wait = left < wait ? left : wait;
        }
    }
    return wait == UINT64_MAX ? -1 : (int)wait;
}

enum { AT_SIGNALS, AT_READY, AT_DOOR, AT_LEAF_DOOR, AT_CONNECTION, AT_COUNT = AT_CONNECTION + MASTER_CONNECTIONS_MAX };

static void fill(const struct master *m, struct pollfd at[AT_COUNT])
{
    at[AT_SIGNALS] = (struct pollfd){m->signals, POLLIN, 0};
    at[AT_READY] = (struct pollfd){m->ready[0], POLLIN, 0};
    at[AT_DOOR] = (struct pollfd){free_connection(m) >= 0 ? m->door : -1, POLLIN, 0};
    at[AT_LEAF_DOOR] =
        (struct pollfd){count_children(m, LEAF_CHILD) < MASTER_LEAVES_MAX ? m->leaf_door : -1, POLLIN, 0};
    for (int i = 0; i < MASTER_CONNECTIONS_MAX; i++)
        at[AT_CONNECTION + i] =
            (struct pollfd){m->connection[i].fd, (short)(POLLRDHUP | (m->connection[i].owes_died ? POLLOUT : 0)), 0};
}

static void turn(struct master *m)
{
    struct pollfd at[AT_COUNT];
    fill(m, at);
    if (poll(at, AT_COUNT, next_timeout(m)) < 0)
        return; /* EINTR at most: all signals that matter come through the descriptor */
    if (at[AT_READY].revents != 0)
        on_ready(m);
    for (int i = 0; i < MASTER_CONNECTIONS_MAX; i++) {
        if ((at[AT_CONNECTION + i].revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0)
            hang_up(m, i);
        else if ((at[AT_CONNECTION + i].revents & POLLOUT) != 0)
            send_died(&m->connection[i]);
    }
    if (at[AT_SIGNALS].revents != 0)
        on_signal(m);
    if (at[AT_DOOR].revents != 0)
        on_door(m);
    if (at[AT_LEAF_DOOR].revents != 0)
        on_leaf_door(m);
    for (int i = 0; i < MASTER_CONNECTIONS_MAX; i++)
        spawn_missing(m, i);
}

/* ---- start and stop */

static int harden(struct err *err)
{
    struct rlimit none = {0, 0};
    (void)umask(077);
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_set(err, ERR_INTERNAL, "cannot forbid core dumps: %s", strerror(errno));
    return 0;
}

/* Nobody can connect before a child has seen that all keys are as they must be. */
static int probe(const struct tokend_config *c)
{
    int status;
    pid_t self = getpid(), pid = fork();
    if (pid == 0) {
        (void)alarm(PROBE_SECONDS);
        _exit(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != self ? EXIT_INTERNAL : serve_probe(c));
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            pid = -1;
    if (pid > 0 && WIFEXITED(status))
        return WEXITSTATUS(status);
    log_error("the self check of the token crashed, hung or could not start");
    return EXIT_UNAVAILABLE;
}

static int open_signals(struct master *m)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return m->signals < 0 || pipe2(m->ready, O_CLOEXEC | O_NONBLOCK) != 0 ? -1 : 0;
}

static int start(struct master *m, struct err *err)
{
    for (int i = 0; i < MASTER_CONNECTIONS_MAX; i++)
        m->connection[i].fd = -1;
    (void)snprintf(m->leaf_path, sizeof(m->leaf_path), "%s.leaf", m->config->socket);
    if (open_signals(m) != 0)
        return err_set(err, ERR_INTERNAL, "signals: %s", strerror(errno));
    TRY(door_open(m->leaf_path, m->config->uid, &m->leaf_door, err));
    return door_open(m->config->socket, m->config->uid, &m->door, err);
}

static void stop(struct master *m)
{
    (void)unlink(m->config->socket);
    (void)unlink(m->leaf_path);
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (m->child[i].pid != 0)
            (void)kill(m->child[i].pid, SIGTERM);
    uint64_t end = now_ms() + STOP_MS;
    struct pollfd at = {m->signals, POLLIN, 0};
    for (;;) {
        unsigned left = 0;
        for (size_t i = 0; i < CHILDREN_MAX; i++)
            left += m->child[i].pid != 0;
        uint64_t now = now_ms();
        if (left == 0 || now >= end)
            break;
        if (poll(&at, 1, (int)(end - now)) > 0)
            on_signal(m);
        m->connection[0].missing = m->connection[1].missing = 0;
    }
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        if (m->child[i].pid == 0)
            continue;
        (void)kill(m->child[i].pid, SIGKILL);
        (void)waitpid(m->child[i].pid, NULL, 0);
        softhsm_drop(m->config, m->child[i].pid);
    }
}

int master_run(const struct tokend_config *c)
{
    static struct master m;
    struct err err = {0};
    m.config = c;
    int rc = harden(&err);
    if (rc == 0)
        rc = pkcs11_pin_share(&err);
    if (rc == 0) {
        int code = probe(c);
        if (code != 0)
            return code;
        rc = start(&m, &err);
    }
    if (rc == 0)
        softhsm_drop_all(c); /* the doors are ours: no other tokend runs here */
    if (rc != 0) {
        log_error("%s (%s)", err.text, err_name(rc));
        return (int)err_exit(rc);
    }
    if (c->uid == geteuid())
        log_warn("the node runs under this very uid (%u): whoever takes it over reads the PIN; give tokend its own",
                 (unsigned)c->uid);
    (void)printf("ready: node %s, socket %s, %u workers\n", c->node, c->socket, c->workers);
    (void)fflush(stdout);
    while (!m.stop)
        turn(&m);
    stop(&m);
    log_info("stopped");
    return EXIT_DONE;
}
