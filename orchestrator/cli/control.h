/* control: one question to one node over its control socket, answered or refused within a deadline. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_CONTROL_H
#define ENFILADE_ORCHESTRATOR_CLI_CONTROL_H

#include "proto/message.h"

#define CONTROL_MS 5000

/* Blocks. The answer must be of type `expected`; message_free it. A DENY comes back as its code. ERR_UNAVAILABLE,
 * ERR_DEADLINE. */
MUST_CHECK int control_ask(const char *socket_path, const struct message *question, enum message_type expected,
                           struct message **ret_answer, struct err *err);

#endif
