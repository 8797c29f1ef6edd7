/* worker: a few threads, one bounded queue, and one async handle that brings finished jobs back to the loop.
 *
 * A job is in exactly one of: waiting, running (held by its thread), finished, cancelled; the lists are under `lock`.
 * uv_async_send may coalesce, so the loop always takes whole lists. The last thread that ends sends too: only then can
 * the handle be closed. */
#include "common/base/worker.h"
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

struct list {
    struct worker_job *first, *last;
};

struct worker_pool {
    uv_async_t async;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct list waiting, finished, cancelled;
    unsigned waiting_count, waiting_max;
    unsigned alive; /* threads that have not ended */
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
    unsigned thread_count;
    pthread_t threads[];
};

static void push(struct list *l, struct worker_job *job)
{
    job->next = NULL;
    if (l->last != NULL)
        l->last->next = job;
    else
        l->first = job;
    l->last = job;
}

static struct worker_job *pop(struct list *l)
{
    struct worker_job *job = l->first;
    if (job != NULL)
        l->first = job->next;
    if (l->first == NULL)
        l->last = NULL;
    return job;
}

static void must(int rc)
{
    assert(rc == 0);
    (void)rc;
}

/* Blocks; NULL when the pool stops. */
static struct worker_job *take(struct worker_pool *p)
{
    must(pthread_mutex_lock(&p->lock));
    while (p->waiting.first == NULL && !p->stopping)
        must(pthread_cond_wait(&p->more, &p->lock));
    struct worker_job *job = pop(&p->waiting);
    if (job != NULL)
        p->waiting_count--;
    must(pthread_mutex_unlock(&p->lock));
    return job;
}

/* job NULL: this thread ends. The send stays under the lock: once the loop has seen alive == 0 it may close the handle.
 */
static void hand_back(struct worker_pool *p, struct worker_job *job)
{
    must(pthread_mutex_lock(&p->lock));
    if (job != NULL)
        push(&p->finished, job);
    else
        p->alive--;
    must(uv_async_send(&p->async));
    must(pthread_mutex_unlock(&p->lock));
}

static void *thread_main(void *arg)
{
    struct worker_pool *p = arg;
    struct worker_job *job;
    while ((job = take(p)) != NULL) {
        job->run(job);
        hand_back(p, job);
    }
    hand_back(p, NULL);
    return NULL;
}

static void release(struct worker_pool *p)
{
    must(pthread_cond_destroy(&p->more));
    must(pthread_mutex_destroy(&p->lock));
    free(p);
}

static void on_closed(uv_handle_t *handle)
{
    struct worker_pool *p = handle->data;
    void (*stopped)(void *arg) = p->stopped;
    void *arg = p->stopped_arg;
    release(p);
    if (stopped != NULL)
        stopped(arg);
}

static void call_all(struct list *l, bool cancelled)
{
    struct worker_job *job;
    while ((job = pop(l)) != NULL)
        job->done(job, cancelled); /* may free the job, submit another or stop the pool */
}

static void on_async(uv_async_t *async)
{
    struct worker_pool *p = async->data;
    must(pthread_mutex_lock(&p->lock));
    struct list finished = p->finished, cancelled = p->cancelled;
    p->finished = p->cancelled = (struct list){0};
    bool last = p->stopping && p->alive == 0;
    must(pthread_mutex_unlock(&p->lock));
    call_all(&finished, false);
    call_all(&cancelled, true);
    if (!last)
        return;
    for (unsigned i = 0; i < p->thread_count; i++)
        must(pthread_join(p->threads[i], NULL));
    uv_close((uv_handle_t *)&p->async, on_closed);
}

/* Threads take no signals: those belong to the loop. */
static int start_threads(struct worker_pool *p, unsigned threads)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    must(pthread_sigmask(SIG_SETMASK, &all, &before));
    int rc = 0;
    while (rc == 0 && p->thread_count < threads) {
        must(pthread_mutex_lock(&p->lock));
        rc = pthread_create(&p->threads[p->thread_count], NULL, thread_main, p);
        if (rc == 0) {
            p->thread_count++;
            p->alive++;
        }
        must(pthread_mutex_unlock(&p->lock));
    }
    must(pthread_sigmask(SIG_SETMASK, &before, NULL));
    return rc == 0 ? 0 : ERR_NOMEM;
}

int worker_start(uv_loop_t *loop, unsigned threads, unsigned queue_max, struct worker_pool **ret_pool)
{
    assert(threads >= 1 && threads <= WORKER_THREADS_MAX);
    struct worker_pool *p = calloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));
    if (p == NULL)
        return ERR_NOMEM;
    p->waiting_max = queue_max;
    must(pthread_mutex_init(&p->lock, NULL));
    must(pthread_cond_init(&p->more, NULL));
    p->async.data = p;
    if (uv_async_init(loop, &p->async, on_async) != 0) {
        release(p);
        return ERR_NOMEM;
    }
    p->async.data = p;
    int rc = start_threads(p, threads);
    if (rc != 0) {
        worker_stop(p, NULL, NULL); /* the loop frees it */
        return rc;
    }
    *ret_pool = p;
    return 0;
}

int worker_submit(struct worker_pool *p, struct worker_job *job)
{
    must(pthread_mutex_lock(&p->lock));
    int rc = p->stopping ? ERR_CLOSED : p->waiting_count >= p->waiting_max ? ERR_FULL : 0;
    if (rc == 0) {
        push(&p->waiting, job);
        p->waiting_count++;
        must(pthread_cond_signal(&p->more));
    }
    must(pthread_mutex_unlock(&p->lock));
    return rc;
}

void worker_stop(struct worker_pool *p, void (*stopped)(void *arg), void *arg)
{
    must(pthread_mutex_lock(&p->lock));
    assert(!p->stopping);
    p->stopping = true;
    p->stopped = stopped;
    p->stopped_arg = arg;
    p->cancelled = p->waiting;
    p->waiting = (struct list){0};
    p->waiting_count = 0;
    must(pthread_cond_broadcast(&p->more));
    must(uv_async_send(&p->async));
    must(pthread_mutex_unlock(&p->lock));
}
