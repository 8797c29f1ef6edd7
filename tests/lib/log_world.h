/* log_world: a node's log on a real store and a real loop, with a token made of software that can misbehave, for tests.
 */
#ifndef ENFILADE_TESTS_LOG_WORLD_H
#define ENFILADE_TESTS_LOG_WORLD_H

#include "node/ledger/log.h"
#include <uv.h>

enum token_mode {
    TOKEN_SIGNS,
    TOKEN_AWAY,   /* fails at once with ERR_TOKEN */
    TOKEN_HANGS,  /* answers nothing until the mode changes */
    TOKEN_LIES,   /* signs something else */
    TOKEN_KILLED, /* the process dies by SIGKILL when asked */
};

struct world {
    uv_loop_t loop;
    uv_timer_t timer; /* answers of the token */
    struct store *store;
    struct worker_pool *pool;
    struct token token;
    struct ed25519_key *secret;
    struct note_key key;
    struct node_log *log;
    bool is_ready, is_stopped;
    struct err ready_err; /* code 0: ready */
    enum token_mode mode;
    unsigned asked, signed_, signed_at_ready;
    uint64_t now_ms, monotonic_ms; /* the clock's */
    struct {
        token_done done;
        void *arg;
        uint64_t size;
        uint8_t root[HASH_LEN];
        bool waiting;
    } question;
    char folder[64];
};

/* How often the disk was told to keep what it has, and whether the next times fail. */
extern _Atomic unsigned world_syncs, world_syncs_to_fail;
/* The n-th write or sync from now on fails with EIO, once; 0: none. */
extern _Atomic unsigned world_fail_at;
extern _Atomic bool world_disk_full;

void world_folder(struct world *w);                /* a new empty temporary folder, seed of the key fixed */
int world_open(struct world *w, size_t map_bytes); /* store, pool, log; waits for ready; its error, 0 */
void world_close(struct world *w);                 /* stops and frees all but the folder */
void world_remove(struct world *w);
void world_tick(struct world *w, uint64_t ms); /* time passes */
/* Runs the loop until *flag; ends the test program when that takes two minutes. */
void world_until(struct world *w, const bool *flag);
void world_until_count(struct world *w, const size_t *counter, size_t value);
struct store *world_store(const struct world *w, bool read_only); /* opened aside, while the log is closed */

/* An append that remembers how it ended. */
struct visit_entry {
    struct log_append append;
    struct world *world;
    size_t *done_count;
    bool done;
    struct err err; /* code 0: entry and receipt verified */
    uint64_t index, checkpoint_size;
    uint8_t hash[HASH_LEN], link_hash[HASH_LEN];
    struct buf entry, receipt;
    unsigned syncs_before;
};
void world_entry(struct world *w, struct visit_entry *v, uint64_t number, size_t *done_count); /* a GRANT */
void world_entry_done(struct visit_entry *v);

#endif
