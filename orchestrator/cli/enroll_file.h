/* enroll_file: the small text files that enrolment passes between device and operator.
 *
 *   enfilade: enroll-request/v1     or enroll-challenge/v1, enroll-answer/v1, enroll-secret/v1
 *   id: web-1
 *   ek: base64                      request; TPMT_PUBLIC
 *   ak: base64                      request
 *   spki: base64                    request; the device key
 *   blob: base64                    challenge
 *   secret: base64                  answer, secret
 */
#ifndef ENFILADE_ORCHESTRATOR_CLI_ENROLL_FILE_H
#define ENFILADE_ORCHESTRATOR_CLI_ENROLL_FILE_H

#include "common/base/yaml.h"

struct enroll_file {
    char id[NAME_MAX_LEN + 1];
    struct buf ek, ak, spki, blob, secret;
};
void enroll_file_init(struct enroll_file *f);
void enroll_file_done(struct enroll_file *f);
/* kind: "request", … The fields of that kind must be there, no others. */
MUST_CHECK int enroll_file_read(const char *path, const char *kind, struct enroll_file *ret, struct err *err);
MUST_CHECK int enroll_file_write(const struct enroll_file *f, const char *kind, const char *path, unsigned mode,
                                 struct err *err);

#endif
