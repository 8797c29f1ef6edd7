/* ceremony: a folder that holds a whole test network: its keys, its documents, and where they go.
 *
 *   DIR/keys/ROLE.pem           root-a root-b root-c roster inventory policy status, owner-NAME
 *   DIR/ca/                     device-ca.pem, device-ca.key
 *   DIR/config/                 the documents in force; the configuration server's folder
 *   DIR/client/documents/       a copy, and so DIR/nodes/NODE/documents/
 *
 * For test networks only: a real network keeps these keys apart, each with its holder. */
#ifndef ENFILADE_ORCHESTRATOR_CLI_CEREMONY_H
#define ENFILADE_ORCHESTRATOR_CLI_CEREMONY_H

#include "common/documents/shelf.h"
#include "orchestrator/cli/renew.h"
#include <limits.h>

#define CEREMONY_ROOT_KEYS 3
#define CEREMONY_ROOT_THRESHOLD 2
#define DAY_MS (24ull * 3600 * 1000)

struct ceremony {
    const char *folder;
    name_text network;
    struct shelf *shelf; /* what DIR/config holds; NULL while it is being made */
};

/* Reads DIR/config of an existing network. */
MUST_CHECK int ceremony_open(const char *folder, struct ceremony *ret, struct err *err);
void ceremony_close(struct ceremony *c);

MUST_CHECK int ceremony_path(const struct ceremony *c, char ret[PATH_MAX], struct err *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
MUST_CHECK int ceremony_folder(const struct ceremony *c, const char *name, struct err *err); /* makes it, 0700 */

/* Key "ROLE" is DIR/keys/ROLE.pem; its name in signatures is "<network>/" and the role, '-' as '/'. */
MUST_CHECK int ceremony_key_new(const struct ceremony *c, const char *role, struct note_key *ret_vkey, struct err *err);
/* Appends the signatures of these roles to text. ret_note is initialised here. */
MUST_CHECK int ceremony_sign(const struct ceremony *c, struct bytes text, const char *const *roles, size_t role_count,
                             struct buf *ret_note, struct err *err);
/* Puts a note under its own name ("policy-x.note") into DIR/config, the client's and all nodes' documents. */
MUST_CHECK int ceremony_publish(const struct ceremony *c, struct bytes note, struct err *err);
/* Next status: makes, signs (with the root keys too when something is lifted) and publishes it. */
MUST_CHECK int ceremony_status(struct ceremony *c, const struct renew_changes *changes, uint64_t span_ms,
                               struct err *err);
/* Next inventory with this device (NULL: none), signed and published; then the status. */
MUST_CHECK int ceremony_inventory(struct ceremony *c, const struct device *device, struct err *err);
/* Takes a note that was published into the shelf. */
MUST_CHECK int ceremony_offer(struct ceremony *c, struct bytes note, struct err *err);

#endif
