/* documents: no text or note makes peek, parse, open, check or offer do anything but answer; what parses writes and
 * parses again.
 *
 * Seeds: documents_seeds DIR writes one good text and note of each type. */
#include "common/documents/chain.h"
#include "common/documents/shelf.h"
#include "tests/lib/network.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);
void __lsan_disable(void) __attribute__((weak)); /* there with -fsanitize=address only */
void __lsan_enable(void) __attribute__((weak));

static struct network net;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (__lsan_disable != NULL)
        __lsan_disable(); /* OpenSSL's generators, made here, live in thread-local memory that is not searched */
    network_init(&net);
    if (__lsan_enable != NULL)
        __lsan_enable();
    return 0;
}

/* write(parse(x)) is a fixed point. */
static void check_written(const struct document *d)
{
    struct buf once, twice;
    struct document *again = NULL;
    struct err err = {0};
    if (d->type == DOCUMENT_POLICY)
        return;
    int rc = document_write(d, &once, &err);
    assert(rc == 0);
    rc = document_parse(buf_view(&once), "again", &again, &err);
    assert(rc == 0);
    rc = document_write(again, &twice, &err);
    assert(rc == 0 && bytes_equal(buf_view(&once), buf_view(&twice)));
    document_unref(again);
    buf_done(&once);
    buf_done(&twice);
}

static void check_offer(struct bytes note)
{
    struct shelf *s = NULL;
    enum shelf_outcome outcome;
    const struct document *d = NULL;
    struct err err = {0};
    struct bytes root = net.root->note;
    int rc = shelf_new(NETWORK_NAME, net.root->hash, &s);
    assert(rc == 0);
    rc = shelf_offer(s, root, "root", NETWORK_NOW_MS, &outcome, &d, &err);
    assert(rc == 0);
    rc = shelf_offer(s, note, "fuzz", NETWORK_NOW_MS, &outcome, &d, &err);
    assert((rc == 0 && d != NULL) || (rc == err.code && err.text[0] != '\0'));
    shelf_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const struct bytes input = BYTES(data, len);
    const struct document_trust trust = {.root = net.root, .policy = net.policy};
    const struct chain_world w = {net.policy, net.envelope, net.roster, net.status};
    struct document_claim claim;
    struct document *d = NULL;
    struct err err = {0};
    int rc = document_peek(input, &claim, &err);
    assert(rc == 0 || (rc == err.code && err.text[0] != '\0'));
    err = (struct err){0};
    rc = document_open(input, trust, "fuzz", &d, &err);
    assert(rc == 0 ? d != NULL : d == NULL && rc == err.code && err.text[0] != '\0');
    document_unref(d);
    d = NULL;
    err = (struct err){0};
    rc = document_parse(input, "fuzz", &d, &err);
    assert(rc == 0 ? d != NULL : d == NULL && rc == err.code && err.text[0] != '\0');
    if (rc == 0) {
        check_written(d);
        if (d->type == DOCUMENT_CHAIN)
            (void)!chain_check(&w, d, NETWORK_NOW_MS, &err);
        document_unref(d);
    }
    check_offer(input);
    return 0;
}
