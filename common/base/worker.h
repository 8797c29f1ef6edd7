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

/* threads >= 1; one thread makes a serial queue (the store). queue_max jobs may wait. */
MUST_CHECK int worker_start(uv_loop_t *loop, unsigned threads, unsigned queue_max, struct worker_pool **ret_pool);
MUST_CHECK int worker_submit(struct worker_pool *pool, struct worker_job *job); /* ERR_FULL; then done is not called */
/* Finishes running jobs, cancels waiting ones; `stopped` fires on the loop when all done callbacks have. */
void worker_stop(struct worker_pool *pool, void (*stopped)(void *arg), void *arg);

#endif
