/* sweep: one job on the store thread at a time. */
#include "node/sweep.h"
#include <stddef.h>

static struct node *node_of(struct worker_job *job)
{
    return (struct node *)((char *)job - offsetof(struct node, sweep.job));
}

static void sweep_run(struct worker_job *job)
{
    struct node *n = node_of(job);
    struct store_txn *t = NULL;
    struct grant_cursor grants = n->sweep.grants;
    struct quota_cursor quotas = n->sweep.quotas;
    unsigned grants_deleted = 0, quotas_deleted = 0;
    struct err err;
    if (store_begin(n->store, true, &t, &err) != 0)
        return;
    int rc = grant_sweep(t, n->sweep.now_ms, NODE_SKEW_MS, &grants, &grants_deleted);
    if (rc == 0)
        rc = quota_sweep(t, n->sweep.now_ms, &quotas, &quotas_deleted);
    if (rc != 0 || grants_deleted + quotas_deleted == 0)
        store_abort(t);
    else
        rc = store_commit(t, &err);
    if (rc != 0)
        return;
    n->sweep.grants = grants;
    n->sweep.quotas = quotas;
}

static void sweep_done(struct worker_job *job, bool cancelled)
{
    (void)cancelled;
    node_of(job)->sweep.is_running = false;
}

void sweep_tick(struct node *n)
{
    if (n->sweep.is_running || n->log == NULL)
        return;
    n->sweep.job = (struct worker_job){.run = sweep_run, .done = sweep_done};
    /* The ledger's time, not the clock's: a clock that runs ahead and is set back must not cost a live grant. No grant
     * is written with an older time than this, and none behind its end, so what is swept cannot come back. */
    n->sweep.now_ms = node_log_last_time(n->log);
    n->sweep.is_running = worker_submit(n->store_thread, &n->sweep.job) == 0;
}
