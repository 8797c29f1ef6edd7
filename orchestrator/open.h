/* open: from an operation's name to its secret: documents, chain, walk, DEK, payload.
 *
 * The inside of enfilade.h, which programs of this project use directly: it also shows the session and hands the
 * payload out piece by piece, so that it may be larger than one secret. */
#ifndef ENFILADE_ORCHESTRATOR_OPEN_H
#define ENFILADE_ORCHESTRATOR_OPEN_H

#include "orchestrator/walk.h"

struct uv_loop_s;

struct enf {
    struct client_config *config;
    uv_loop_t *loop;
    struct depot *depot;
    struct dial_pool *pool; /* warm connections, from one walk to the next */
    struct worker_pool *workers;
    struct client_attester attester;
    struct walk *walk;      /* the last one: its visits are still on show */
    struct walk *before;    /* the one before it in the same call, when documents changed under it */
    struct document *chain; /* its chain */
    enf_observer observer;
    void *observer_arg;
    struct err err;
};

/* A piece of the secret, at most 64 KiB, borrowed; nonzero stops with that code. */
typedef int (*open_sink)(void *arg, struct bytes piece);

MUST_CHECK int open_new(const char *config_path, struct enf **ret, struct err *err);
void open_free(struct enf *e);
/* plain_len is told before the first piece. Pieces are handed out only after the payload's hash was right. */
typedef int (*open_begin)(void *arg, uint64_t plain_len);
MUST_CHECK int open_unseal(struct enf *e, const char *operation, const char *chain_path, open_begin begin,
                           open_sink sink, void *arg, struct err *err);

struct open_papers { /* what a walk starts from; references are the caller's */
    struct document *chain, *policy, *envelope;
};
/* Documents from everywhere, then the chain: from the file, else the configuration server, else generated. Checked. */
MUST_CHECK int open_prepare(struct enf *e, const char *operation, const char *chain_path, struct open_papers *ret,
                            struct err *err);
void open_papers_done(struct open_papers *p);

#endif
