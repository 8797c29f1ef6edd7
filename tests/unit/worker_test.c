/* worker: every job's done exactly once and on the loop; bounded queue; stopping cancels what waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/worker.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

#define JOBS 500

/* A gate that `run` waits at, so that tests decide when a thread is busy. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t change;
    unsigned inside;
    bool open;
};

struct fixture {
    uv_loop_t loop;
    struct worker_pool *pool;
    pthread_t loop_thread;
    struct gate gate;
    unsigned done, cancelled, stopped;
    bool submitting;
    unsigned order[JOBS];
};

struct test_job {
    struct worker_job job;
    struct fixture *f;
    unsigned number, times_done;
    atomic_uint times_run;
    bool stop_pool, resubmit;
};

static void on_stopped(void *arg)
{
    struct fixture *f = arg;
    f->stopped++;
}

static void run(struct worker_job *job)
{
    struct test_job *t = (struct test_job *)job;
    assert_false(pthread_equal(pthread_self(), t->f->loop_thread));
    atomic_fetch_add(&t->times_run, 1);
}

static void run_gated(struct worker_job *job)
{
    struct test_job *t = (struct test_job *)job;
    struct gate *g = &t->f->gate;
    (void)pthread_mutex_lock(&g->lock);
    g->inside++;
    (void)pthread_cond_broadcast(&g->change);
    while (!g->open)
        (void)pthread_cond_wait(&g->change, &g->lock);
    (void)pthread_mutex_unlock(&g->lock);
    run(job);
}

static void gate_wait(struct gate *g, unsigned inside)
{
    (void)pthread_mutex_lock(&g->lock);
    while (g->inside < inside)
        (void)pthread_cond_wait(&g->change, &g->lock);
    (void)pthread_mutex_unlock(&g->lock);
}

static void gate_open(struct gate *g)
{
    (void)pthread_mutex_lock(&g->lock);
    g->open = true;
    (void)pthread_cond_broadcast(&g->change);
    (void)pthread_mutex_unlock(&g->lock);
}

static void done(struct worker_job *job, bool cancelled)
{
    struct test_job *t = (struct test_job *)job;
    struct fixture *f = t->f;
    assert_true(pthread_equal(pthread_self(), f->loop_thread));
    assert_false(f->submitting);
    t->times_done++;
    assert_int_equal(atomic_load(&t->times_run), cancelled ? 0 : t->times_done);
    if (f->done < JOBS)
        f->order[f->done] = t->number;
    f->done++;
    f->cancelled += cancelled;
    if (t->resubmit && !cancelled) {
        t->resubmit = false;
        assert_int_equal(worker_submit(f->pool, job), 0);
    }
    if (t->stop_pool)
        worker_stop(f->pool, on_stopped, f);
}

static int submit(struct fixture *f, struct test_job *t)
{
    f->submitting = true;
    int rc = worker_submit(f->pool, &t->job);
    f->submitting = false;
    return rc;
}

static struct test_job make_job(struct fixture *f, unsigned number, void (*how)(struct worker_job *))
{
    return (struct test_job){.job = {.run = how, .done = done}, .f = f, .number = number};
}

static void start(struct fixture *f, unsigned threads, unsigned queue_max)
{
    *f = (struct fixture){.loop_thread = pthread_self()};
    (void)pthread_mutex_init(&f->gate.lock, NULL);
    (void)pthread_cond_init(&f->gate.change, NULL);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(worker_start(&f->loop, threads, queue_max, &f->pool), 0);
}

static void finish(struct fixture *f)
{
    assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(f->stopped, 1);
    assert_int_equal(uv_loop_close(&f->loop), 0); /* no handle is left */
}

static void each_job_is_done_exactly_once(void **state)
{
    (void)state;
    static struct test_job jobs[JOBS];
    struct fixture f;
    start(&f, 4, JOBS);
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = make_job(&f, i, run);
        assert_int_equal(submit(&f, &jobs[i]), 0);
    }
    while (f.done < JOBS)
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    worker_stop(f.pool, on_stopped, &f);
    finish(&f);
    assert_int_equal(f.done, JOBS);
    assert_int_equal(f.cancelled, 0);
    for (unsigned i = 0; i < JOBS; i++)
        assert_int_equal(jobs[i].times_done, 1);
}

static void one_thread_is_a_serial_queue(void **state)
{
    (void)state;
    static struct test_job jobs[JOBS];
    struct fixture f;
    start(&f, 1, JOBS);
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = make_job(&f, i, run);
        assert_int_equal(submit(&f, &jobs[i]), 0);
    }
    while (f.done < JOBS)
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    worker_stop(f.pool, on_stopped, &f);
    finish(&f);
    for (unsigned i = 0; i < JOBS; i++)
        assert_int_equal(f.order[i], i);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 1, 2);
    struct test_job busy = make_job(&f, 0, run_gated), a = make_job(&f, 1, run), b = make_job(&f, 2, run),
                    c = make_job(&f, 3, run);
    assert_int_equal(submit(&f, &busy), 0);
    gate_wait(&f.gate, 1); /* now it runs and does not wait */
    assert_int_equal(submit(&f, &a), 0);
    assert_int_equal(submit(&f, &b), 0);
    assert_int_equal(submit(&f, &c), ERR_FULL);
    gate_open(&f.gate);
    while (f.done < 3)
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    assert_int_equal(submit(&f, &c), 0); /* room again */
    worker_stop(f.pool, on_stopped, &f);
    finish(&f);
    assert_int_equal(f.done, 4);
}

static void stopping_finishes_the_running_and_cancels_the_waiting(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 2, 10);
    struct test_job running[2] = {make_job(&f, 0, run_gated), make_job(&f, 1, run_gated)};
    struct test_job waiting[3] = {make_job(&f, 2, run), make_job(&f, 3, run), make_job(&f, 4, run)};
    struct test_job late = make_job(&f, 5, run);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(submit(&f, &running[i]), 0);
    gate_wait(&f.gate, 2);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(submit(&f, &waiting[i]), 0);
    worker_stop(f.pool, on_stopped, &f);
    assert_int_equal(f.done, 0); /* not from inside the call */
    assert_int_equal(submit(&f, &late), ERR_CLOSED);
    gate_open(&f.gate);
    finish(&f);
    assert_int_equal(f.done, 5);
    assert_int_equal(f.cancelled, 3);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(running[i].times_done, 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(waiting[i].times_done, 1);
    assert_int_equal(late.times_done, 0);
}

static void done_may_submit_again_and_stop_the_pool(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 1, 4);
    struct test_job again = make_job(&f, 0, run), last = make_job(&f, 1, run);
    again.resubmit = true;
    assert_int_equal(submit(&f, &again), 0);
    while (f.done < 2)
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    last.stop_pool = true;
    assert_int_equal(submit(&f, &last), 0);
    finish(&f);
    assert_int_equal(again.times_done, 2);
    assert_int_equal(last.times_done, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_job_is_done_exactly_once),
        cmocka_unit_test(one_thread_is_a_serial_queue),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(stopping_finishes_the_running_and_cancels_the_waiting),
        cmocka_unit_test(done_may_submit_again_and_stop_the_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
