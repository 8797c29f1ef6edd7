/* node: the node's own reading of the time. */
#include "node/node.h"

int node_now(const struct node *n, uint64_t *ret_ms, struct err *err)
{
    uint64_t now = n->clock.now_ms(n->clock.arg), floor = 0;
    const struct document *status = shelf_find(n->shelf, DOCUMENT_STATUS, BYTES_NONE);
    if (status == NULL)
        return err_set(err, ERR_STATUS, "this node has no status document yet");
    floor = status->issued_ms;
    if (n->log != NULL) {
        uint64_t last = node_log_last_time(n->log);
        floor = last > floor ? last : floor;
    }
    if (now + NODE_SKEW_MS < floor)
        return err_set(err, ERR_CLOCK,
                       "the system clock is %llu s behind the newest status or ledger entry: set it right",
                       (unsigned long long)((floor - now) / 1000));
    *ret_ms = now > floor ? now : floor;
    return 0;
}
