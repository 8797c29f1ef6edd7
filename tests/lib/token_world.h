/* token_world: a tokend of its own in a temporary folder, and a walk's software around it, for tests and benches.
 *
 * The node is "n2" at stage 2, slot 1 of a chain of three stages: gate (need 2; n1, n4, n5 in slots 1 to 3), vault (n2,
 * n6), last (need 1; n3, n7). All neighbours and the walker are software keys, so that every answer can be opened and
 * compared. Functions end the process with a message when the world itself breaks. */
#ifndef ENFILADE_TESTS_TOKEN_WORLD_H
#define ENFILADE_TESTS_TOKEN_WORLD_H

#include "common/walk/share.h"
#include "proto/message.h"
#include <sys/types.h>

#define WORLD_NEED 2
#define WORLD_MODULE "/usr/lib/softhsm/libsofthsm2.so"

struct token_world {
    const char *program; /* enfilade-tokend */
    char folder[64], config[96], socket[96], out[96];
    pid_t pid; /* of the running master; 0 */
    uint8_t kem[EC_POINT_LEN], seal[EC_POINT_LEN], peer[EC_POINT_LEN];
    uint8_t log[ED25519_PUBLIC_LEN];
    struct ec_key *e, *gate[3], *last[2];
    uint8_t e_point[EC_POINT_LEN], gate_point[3][EC_POINT_LEN], last_point[2][EC_POINT_LEN];
    uint8_t gate_link[3][HASH_LEN], own_link[HASH_LEN];
    struct secret *share;
    struct share_fields fields;
    struct sealed_share sealed;
    uint8_t client_key_hash[HASH_LEN], client_nonce[NONCE_LEN], prevhash[HASH_LEN];
    char chain[2048];
};

/* A fresh folder with a configuration for `workers`; init was not run. */
void token_world_new(struct token_world *w, const char *program, unsigned workers);
void token_world_free(struct token_world *w); /* stops tokend, removes the folder */

/* Runs the program with these words (NULL-terminated, after the program's name); returns its exit code and what it
 * wrote on stderr. */
int token_world_command(struct token_world *w, const char *const *words, char *ret_text, size_t size);
void token_world_init(struct token_world *w);  /* `init`, then reads public.yaml and seals a share */
void token_world_start(struct token_world *w); /* `run`, returns when it is ready */
void token_world_stop(struct token_world *w);  /* SIGTERM, waits, insists on exit code 0 */
size_t token_world_workers(const struct token_world *w, pid_t *ret, size_t max); /* children of the master */

/* A release request that is right in every respect; m, peers and w are borrowed from each other. */
struct world_request {
    struct message m;
    struct msg_token_peer previous[4], next[4];
};
void token_world_request(struct token_world *w, struct world_request *ret);
/* Opens an Answer with the workload's software and compares share and tags. 0, or an error with words. */
MUST_CHECK int token_world_open(const struct token_world *w, struct bytes answer, struct err *err);

#endif
