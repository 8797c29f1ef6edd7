/* enfilade.h: the orchestrator as a library, for workloads that open sealed secrets.
 *
 *     struct enf *e;
 *     if (enf_open("/etc/enfilade/client.yaml", &e) != 0) …
 *     struct enf_secret *s;
 *     int rc = enf_unseal(e, "unlock-db", NULL, &s);
 *     if (rc == 0) { use(enf_secret_data(s), enf_secret_len(s)); enf_secret_free(s); }
 *     else fprintf(stderr, "%s\n", enf_error(e));
 *     enf_close(e);
 *
 * Calls block; one `struct enf` belongs to one thread at a time. Secrets live in locked memory that is not dumped and
 * is wiped by enf_secret_free. Return values: 0, or a negative code whose name enf_error_name gives; enf_exit_code maps
 * it to the programs' exit codes: 1 internal, 2 usage or configuration, 3 denied, 4 unavailable, 5 integrity. */
#ifndef ENFILADE_H
#define ENFILADE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ENF_API __attribute__((visibility("default")))

struct enf;
struct enf_secret;

/* What happened at one member of one stage. Strings live until the next call on the same `struct enf`. */
struct enf_visit {
    const char *stage, *node;
    unsigned stage_number, slot; /* from 1 */
    int result;                  /* 0, or the code of the refusal or failure */
    const char *detail;          /* words for result != 0, else the factors met, comma separated */
    const char *denial_id;       /* hex, "" when there is none */
    double milliseconds;
    uint64_t entry_index; /* ledger index of the grant when result == 0 */
    const uint8_t *link_body;
    size_t link_body_len; /* the link, when result == 0 */
    const uint8_t *entry;
    size_t entry_len;
    const char *receipt;
    size_t receipt_len;
};

/* Progress and report. Called on the caller's thread, in order. NULL is fine. */
typedef void (*enf_observer)(void *arg, const struct enf_visit *visit);

ENF_API int enf_open(const char *config_path, struct enf **ret);
ENF_API void enf_close(struct enf *e);
ENF_API void enf_observe(struct enf *e, enf_observer observer, void *arg);
/* Walk the chain of `operation` and open its payload. chain_path NULL: from the configuration server, else a file. */
ENF_API int enf_unseal(struct enf *e, const char *operation, const char *chain_path, struct enf_secret **ret);
ENF_API const void *enf_secret_data(const struct enf_secret *s);
ENF_API size_t enf_secret_len(const struct enf_secret *s);
ENF_API void enf_secret_free(struct enf_secret *s);
ENF_API const char *enf_error(const struct enf *e);
ENF_API const char *enf_error_name(int code);
ENF_API int enf_exit_code(int code);

#ifdef __cplusplus
}
#endif
#endif
