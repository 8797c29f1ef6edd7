/* err: the one table of error codes, and the words that callers wrap around them.
 *
 * Functions return 0 or a negative ERR_*. Codes may leave the node (as wire codes), texts go to the operator only.
 * Library code never logs; whoever owns the loop logs a request once, with the whole text. */
#ifndef ENFILADE_BASE_ERR_H
#define ENFILADE_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))

enum err_advice {
    ADVICE_NEVER,     /* the same request will be refused everywhere */
    ADVICE_HERE,      /* try the same node again after a while */
    ADVICE_ELSEWHERE, /* another member of the stage may do it */
};

/* Exit codes of every program: stable, part of the interface. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_INTERNAL = 1,
    EXIT_USAGE = 2,
    EXIT_DENIED = 3,
    EXIT_UNAVAILABLE = 4,
    EXIT_INTEGRITY = 5,
};

/* X(name, wire code, advice, exit code, what it means). Wire codes are never reused. */
#define ERR_TABLE(X)                                                                                                   \
    X(INTERNAL, 1, ELSEWHERE, INTERNAL, "internal error; the operator's log has the details")                          \
    X(NOMEM, 2, ELSEWHERE, INTERNAL, "out of memory")                                                                  \
    X(IO, 3, ELSEWHERE, INTERNAL, "a read or write on this host failed")                                               \
    X(USAGE, 4, NEVER, USAGE, "wrong use of a command or call")                                                        \
    X(CONFIG, 5, NEVER, USAGE, "a configuration file is wrong")                                                        \
    X(FORMAT, 6, NEVER, INTEGRITY, "malformed input")                                                                  \
    X(TOO_LONG, 7, NEVER, INTEGRITY, "longer than its limit")                                                          \
    X(ORDER, 8, NEVER, INTEGRITY, "message out of order")                                                              \
    X(DEADLINE, 9, ELSEWHERE, UNAVAILABLE, "a deadline passed")                                                        \
    X(CLOSED, 10, ELSEWHERE, UNAVAILABLE, "the connection was closed")                                                 \
    X(UNAVAILABLE, 11, ELSEWHERE, UNAVAILABLE, "not reachable, or too few members are")                                \
    X(BUSY, 12, HERE, UNAVAILABLE, "busy; try again after the time given")                                             \
    X(FULL, 13, ELSEWHERE, UNAVAILABLE, "a bounded table is full")                                                     \
    X(TLS, 14, NEVER, DENIED, "TLS handshake or certificate refused")                                                  \
    X(IDENTITY, 15, ELSEWHERE, INTEGRITY, "the peer is not who the roster says")                                       \
    X(SIGNATURE, 16, NEVER, INTEGRITY, "a signature is missing or wrong")                                              \
    X(THRESHOLD, 17, NEVER, INTEGRITY, "too few distinct signers")                                                     \
    X(EXPIRED, 18, NEVER, DENIED, "expired or not yet valid")                                                          \
    X(STALE, 19, HERE, DENIED, "older than the version in force")                                                      \
    X(EQUIVOCATION, 20, NEVER, INTEGRITY, "two different things under one version")                                    \
    X(DOCUMENTS, 21, HERE, DENIED, "a document is missing here")                                                       \
    X(STATUS, 22, HERE, DENIED, "the network's status document is missing or expired")                                 \
    X(HALTED, 23, NEVER, DENIED, "halted by the operators")                                                            \
    X(REVOKED, 24, NEVER, DENIED, "revoked")                                                                           \
    X(CLOCK, 25, ELSEWHERE, DENIED, "the clock of this host cannot be right")                                          \
    X(CHAIN, 26, NEVER, DENIED, "the chain is not admissible under the policy")                                        \
    X(STAGE, 27, NEVER, DENIED, "this stage and slot are not this node's")                                             \
    X(SESSION_KEY, 28, NEVER, DENIED, "the session key is not acceptable")                                             \
    X(LINK, 29, NEVER, DENIED, "the links of the earlier stages do not hold")                                          \
    X(PROOF, 30, NEVER, INTEGRITY, "an inclusion or consistency proof fails")                                          \
    X(QUORUM, 31, HERE, DENIED, "too few cosignatures")                                                                \
    X(NONCE, 32, NEVER, DENIED, "the challenge is not this connection's, or its time is over")                         \
    X(BIND, 33, NEVER, DENIED, "the evidence is not bound to this session and connection")                             \
    X(EVIDENCE, 34, NEVER, DENIED, "the evidence does not meet the policy")                                            \
    X(DEVICE, 35, NEVER, DENIED, "the device is not enrolled, or not as this tuple")                                   \
    X(NETWORK, 36, NEVER, DENIED, "the network location is not allowed")                                               \
    X(TIME, 37, HERE, DENIED, "outside the time window")                                                               \
    X(APPROVALS, 38, NEVER, DENIED, "too few approvals")                                                               \
    X(QUOTA, 39, HERE, DENIED, "the quota is used up")                                                                 \
    X(RATE, 40, HERE, DENIED, "too many requests from this source")                                                    \
    X(REISSUE, 41, NEVER, DENIED, "this grant cannot be issued again")                                                 \
    X(TOKEN, 42, ELSEWHERE, UNAVAILABLE, "the token did not do it")                                                    \
    X(STORAGE, 43, ELSEWHERE, UNAVAILABLE, "the storage did not do it")                                                \
    X(COMMITMENT, 44, ELSEWHERE, INTEGRITY, "a share does not match its commitment")                                   \
    X(SHARES, 45, NEVER, INTEGRITY, "shares that cannot be combined")                                                  \
    X(PAYLOAD, 46, NEVER, INTEGRITY, "the payload does not open under this key")                                       \
    X(INTEGRITY, 47, NEVER, INTEGRITY, "stored data was altered")                                                      \
    X(KEYS, 48, NEVER, USAGE, "the token's keys are not as they must be")                                              \
    X(NOT_FOUND, 49, NEVER, USAGE, "there is no such thing")                                                           \
    X(POLICY, 50, NEVER, DENIED, "the policy does not open this envelope")                                             \
    X(VERSION, 51, NEVER, DENIED, "unknown protocol or profile version")

#define ERR_ENUM(name, wire, advice, exit_, text) ERR_##name = -(wire),
enum err_code { ERR_TABLE(ERR_ENUM) };
#undef ERR_ENUM

#define ERR_TEXT_MAX 768

struct err {
    int code; /* 0 or ERR_* */
    char text[ERR_TEXT_MAX];
};

/* Set code and text; returns code, so that `return err_set(err, ERR_LINK, "…")` reads well. err may be NULL. */
int err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Put "context: " before the text that is there; returns err->code. */
int err_wrap(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

const char *err_name(int code);        /* "link"; "unknown" for anything not in the table */
const char *err_advice_text(int code); /* the table's sentence */
enum err_advice err_advice(int code);
enum exit_code err_exit(int code);
unsigned err_wire(int code);         /* 0 for 0 */
int err_from_wire(unsigned wire);    /* ERR_INTERNAL for codes that are not in the table */
int err_from_name(const char *name); /* 0 when unknown */

#define TRY(expr)                                                                                                      \
    do {                                                                                                               \
        int try_rc_ = (expr);                                                                                          \
        if (try_rc_ != 0)                                                                                              \
            return try_rc_;                                                                                            \
    } while (0)

#endif
