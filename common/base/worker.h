/* worker: blocking jobs off the loop.
 *
 * `run` executes on one of the pool's threads and may block; `done` is called exactly once on the loop's thread, never
 * from inside worker_submit, also for jobs that were still queued when the pool stops (with cancelled = true and run
 * not called). The job struct belongs to the caller and must live until `done`. The queue is bounded. */
#ifndef ENFILADE_BASE_WORKER_H
#define ENFILADE_BASE_WORKER_H

#include "common/base/err.h"
#include <stdbool.h>

typedef struct uv_loop_s uv_loop_t;

struct worker_job {
    void (*run)(struct worker_job *job);
    void (*done)(struct worker_job *job, bool cancelled);
    struct worker_job *next; /* the pool's */
};

struct worker_pool;

#define WORKER_THREADS_MAX 64

/* 1 <= threads <= WORKER_THREADS_MAX; one thread makes a serial queue (the store). queue_max jobs may wait. The pool
 * keeps the loop alive until it is stopped. Threads take no signals. ERR_NOMEM. */
MUST_CHECK int worker_start(uv_loop_t *loop, unsigned threads, unsigned queue_max, struct worker_pool **ret_pool);
MUST_CHECK int worker_submit(struct worker_pool *pool,
                             struct worker_job *job); /* ERR_FULL, ERR_CLOSED (stopping); then done is not called */
/* Once, from the loop's thread (a done callback too). Finishes running jobs, cancels waiting ones; `stopped` (NULL:
 * none) fires on the loop when all done callbacks have and the pool is freed. */
void worker_stop(struct worker_pool *pool, void (*stopped)(void *arg), void *arg);

#endif
