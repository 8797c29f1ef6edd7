/* rules: the judgements on members that chain_check and chain_generate share; private to this folder. */
#ifndef ENFILADE_DOCUMENTS_RULES_H
#define ENFILADE_DOCUMENTS_RULES_H

#include "common/documents/chain.h"

/* The envelope's member as the roster knows it now, if the policy's stage admits it. ERR_CHAIN. */
MUST_CHECK int rules_node(const struct policy_stage *p, const struct envelope_member *m, const struct document *roster,
                          const struct roster_node **ret_node, struct err *err);
/* Neither revoked nor halted. ERR_REVOKED, ERR_HALTED. */
MUST_CHECK int rules_in_service(const struct document *status, const char *stage, const char *node, struct err *err);
/* Do any `need` of nodes[0..count) have as many distinct regions, operators and vendors as the policy wants? With fewer
 * than `need` nodes: could they still? Taking a node away never breaks it. ERR_CHAIN. */
MUST_CHECK int rules_diverse(const struct policy_stage *p, const struct roster_node *const *nodes, size_t count,
                             unsigned need, struct err *err);

#endif
