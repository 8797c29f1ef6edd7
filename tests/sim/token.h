/* token: tokend and its token in software, behind the table that a node calls (node/token/ask.h).
 *
 * Requests are judged by tokend's own request_check; the cryptography is common/walk's. The token outlives the node; a
 * door is one incarnation's connection to it. */
#ifndef ENFILADE_SIM_TOKEN_H
#define ENFILADE_SIM_TOKEN_H

#include "node/token/ask.h"

struct run;
struct door;

/* X(name): how a token behaves */
enum token_mode {
    TOKEN_SOUND,
    TOKEN_AWAY,    /* refuses at once */
    TOKEN_HANGS,   /* takes requests and says nothing */
    TOKEN_FAILS,   /* answers every request with a failure */
    TOKEN_NO_SIGN, /* releases, but does not sign */
};

struct door *door_new(struct run *run);
struct token *door_token(struct door *d);
void door_close(struct door *d); /* fails what is pending, from the loop */
void door_free(struct door *d);  /* everything must have been answered */

#endif
