/* visit_inside: what the three files of a visit share: the struct, and the ways in which a step ends. Private to them.
 *
 * visit.c moves from state to state, judge.c checks a Begin and checks it again, issue.c makes the grant and hands it
 * over. All on the loop, but for what says worker. */
#ifndef ENFILADE_NODE_VISIT_INSIDE_H
#define ENFILADE_NODE_VISIT_INSIDE_H

#include "common/ledger/links.h"
#include "node/appraise.h"
#include "node/visit.h"

#define VISIT_ANSWER_MAX 4096u

enum visit_state { JUDGING, CHALLENGED, APPRAISING, LOOKING, ASKING, WRITING, REISSUING, REFUSING };

struct visit {
    struct node *node;
    const struct visit_io *io;
    void *arg; /* io's */
    bool detached, has_sid;
    bool changed; /* documents in force are others than those that chain and links were judged by */
    struct visit_peer peer;
    enum visit_state state;
    struct err err; /* of the step under way */
    uint64_t now_ms, challenged_ms;

    struct message *begin, *attest;
    struct document *chain, *root, *roster, *inventory, *status, *policy, *envelope;
    const struct policy_stage *stage;     /* of policy */
    const struct envelope_member *member; /* of envelope: this node */
    const struct device *device;          /* of inventory, or NULL */
    uint8_t sid[HASH_LEN], eid[HASH_LEN], walk_id[WALK_ID_LEN];
    uint8_t nonce[NONCE_LEN], exporter[32];
    struct links_seen *seen;
    struct appraise_verdict *verdict;
    struct appraise_evidence evidence[APPRAISE_EVIDENCE_MAX];

    struct worker_job job;
    struct grant grant; /* found, or being made */
    struct message *grant_owner;
    uint8_t grant_key[GRANT_KEY_LEN];
    bool grant_found;
    struct quota_used quota_used; /* when the answer is ERR_QUOTA */
    struct buf link_body, answer;
    uint8_t link_hash[HASH_LEN], response_hash[HASH_LEN], commit[3][HASH_LEN], salt[SALT_LEN];
    struct log_append append;
    struct visit *next, *previous; /* node->visits */
};

struct visit *visit_of(struct worker_job *job);
/* The answer of this step; v is gone afterwards. */
void visit_answer(struct visit *v, const struct message *m);
void visit_refuse(struct visit *v);                /* Deny with v->err, once its entry is written */
void visit_refuse_with(struct visit *v, int code); /* v->err may have no words yet */
void visit_busy(struct visit *v);
void visit_finish(struct visit *v); /* no answer: the connection is gone */
void visit_submit(struct visit *v, struct worker_pool *pool, void (*run)(struct worker_job *job),
                  void (*done)(struct worker_job *job, bool cancelled));

/* ---- judge.c; the functions return 0 or an error, v->err has the words */

struct wants {
    struct msg_document_want at[8];
    size_t count;
};
void judge_want(struct wants *w, enum document_type type, struct bytes name, struct bytes hash);
MUST_CHECK int judge_begin(struct visit *v);                        /* before the chain is parsed */
MUST_CHECK int judge_documents(struct visit *v, struct wants *ret); /* *ret filled: documents are needed first */
MUST_CHECK int judge_chain(struct visit *v);                        /* loop or worker */
MUST_CHECK int judge_links(struct visit *v);                        /* worker */
MUST_CHECK int judge_today(struct visit *v);

/* ---- issue.c */

void issue_start(struct visit *v); /* everything was judged: answers and finishes by itself */

#endif
