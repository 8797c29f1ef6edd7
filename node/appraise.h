/* appraise: do these facts meet the policy's factors?
 *
 * Pure: everything is passed in. Every leaf of the factor tree is judged, also after the first failure, so that the
 * operator sees all of them; the verdict's code is that of the first leaf, in the policy's order, that made it fail. */
#ifndef ENFILADE_NODE_APPRAISE_H
#define ENFILADE_NODE_APPRAISE_H

#include "common/documents/document.h"
#include "common/evidence/evidence.h"

#define APPRAISE_LEAVES_MAX 64
#define APPRAISE_EVIDENCE_MAX 8

/* One piece of evidence after verification. */
struct appraise_evidence {
    const struct evidence_format *format;
    int code;      /* 0: claims are verified and bound to this session; else why not (ERR_EVIDENCE, ERR_BIND, …) */
    char why[256]; /* words for code != 0 */
    struct claims claims;
};

struct appraise_facts {
    const struct device *device; /* enrolled and unrevoked; NULL: not */
    const uint8_t *device_key;   /* [32] SHA-256 of its key, for words */
    uint8_t address[16];         /* IPv4 as ::ffff:a.b.c.d */
    uint64_t now_ms;
    const struct appraise_evidence *evidence;
    size_t evidence_count;
};

struct appraise_leaf {
    char name[80]; /* "evidence:tpm2", "device", "network", "time", "quota" */
    bool met;
    int code;                        /* 0 when met */
    char expected[256], actual[256]; /* words for the operator */
};

struct appraise_verdict {
    int code; /* 0: released as far as the factors go */
    struct appraise_leaf leaf[APPRAISE_LEAVES_MAX];
    size_t count;
};

/* ERR_FULL when the tree has more leaves than APPRAISE_LEAVES_MAX (documents refuse such a policy too). */
MUST_CHECK int appraise(const struct factor *tree, const struct appraise_facts *facts, struct appraise_verdict *ret);
/* The names of the leaves, in the policy's order: what a Challenge asks. */
MUST_CHECK int appraise_names(const struct factor *tree, char (*ret_names)[80], size_t max, size_t *ret_count);

#endif
