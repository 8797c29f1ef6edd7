/* worker: common/base/worker.h in virtual time: jobs run one event after another, as many at a time as there are
 * threads. */
#include "common/base/worker.h"
#include "tests/sim/node.h"
#include <assert.h>
#include <stdlib.h>

struct worker_pool {
    struct run *run;
    struct worker_job *first, *last; /* waiting */
    unsigned waiting, waiting_max, idle, threads, returning;
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

struct task { /* a job in the hands of a thread, or on its way back to the loop */
    struct worker_pool *pool;
    struct worker_job *job;
    bool cancelled;
};

int worker_start(uv_loop_t *loop, unsigned threads, unsigned queue_max, struct worker_pool **ret_pool)
{
    struct worker_pool *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return ERR_NOMEM;
    *p = (struct worker_pool){.run = (struct run *)loop, .idle = threads, .threads = threads, .waiting_max = queue_max};
    *ret_pool = p;
    return 0;
}

static void end_when_empty(struct worker_pool *p)
{
    if (!p->stopping || p->waiting > 0 || p->idle < p->threads || p->returning > 0)
        return;
    void (*stopped)(void *arg) = p->stopped;
    void *arg = p->stopped_arg;
    free(p);
    if (stopped != NULL)
        stopped(arg);
}

static void on_stop(void *arg)
{
    struct worker_pool *p = arg;
    p->returning--;
    end_when_empty(p);
}

static struct task *task_new(struct worker_pool *p, struct worker_job *job, bool cancelled)
{
    struct task *t = calloc(1, sizeof(*t));
    assert(t != NULL);
    *t = (struct task){p, job, cancelled};
    return t;
}

static void on_back(void *arg)
{
    struct task t = *(struct task *)arg;
    free(arg);
    t.pool->returning--;
    t.job->done(t.job, t.cancelled);
    end_when_empty(t.pool);
}

static void give_back(struct task *t)
{
    t->pool->returning++;
    (void)sim_after(t->pool->run->sim, 0, on_back, t);
}

static void start_next(struct worker_pool *p);

static void on_run(void *arg)
{
    struct task *t = arg;
    struct worker_pool *p = t->pool;
    t->job->run(t->job);
    p->idle++;
    give_back(t);
    start_next(p);
}

static void start_next(struct worker_pool *p)
{
    if (p->idle == 0 || p->first == NULL)
        return;
    struct worker_job *job = p->first;
    p->first = job->next;
    if (p->first == NULL)
        p->last = NULL;
    p->waiting--;
    p->idle--;
    enum sim_delay kind = p->threads == 1 ? DELAY_DISK : DELAY_JOB;
    (void)sim_after(p->run->sim, sim_delay(p->run->sim, kind), on_run, task_new(p, job, false));
}

int worker_submit(struct worker_pool *p, struct worker_job *job)
{
    if (p->stopping)
        return ERR_CLOSED;
    if (p->waiting >= p->waiting_max)
        return ERR_FULL;
    job->next = NULL;
    if (p->last != NULL)
        p->last->next = job;
    else
        p->first = job;
    p->last = job;
    p->waiting++;
    start_next(p);
    return 0;
}

void worker_stop(struct worker_pool *p, void (*stopped)(void *arg), void *arg)
{
    p->stopping = true;
    p->stopped = stopped;
    p->stopped_arg = arg;
    while (p->first != NULL) {
        struct worker_job *job = p->first;
        p->first = job->next;
        p->waiting--;
        give_back(task_new(p, job, true));
    }
    p->last = NULL;
    p->returning++; /* itself: so that `stopped` never fires from inside */
    (void)sim_after(p->run->sim, 0, on_stop, p);
}
