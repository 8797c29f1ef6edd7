/* parties: certificates and keys of a small network, made anew for every test. */
#ifndef ENFILADE_TESTS_PARTIES_H
#define ENFILADE_TESTS_PARTIES_H

#include "common/net/identity.h"
#include "common/net/tls.h"
#include <stdlib.h>
#include <time.h>

/* cmocka.h comes from the test, which knows the order that it wants */

#define HOUR UINT64_C(3600000)

struct party {
    void *key;
    struct buf cert;
};

static inline uint64_t now_ms(void)
{
    return (uint64_t)time(NULL) * 1000;
}

static inline struct party make_ca(const char *name)
{
    struct party p;
    assert_int_equal(identity_key_new(&p.key), 0);
    assert_int_equal(identity_self_signed(p.key, name, now_ms() - HOUR, now_ms() + 24 * HOUR, &p.cert, NULL), 0);
    return p;
}

static inline struct party make_leaf_until(const struct party *ca, const char *name, bool device, uint64_t until_ms)
{
    struct party p;
    struct buf spki;
    assert_int_equal(identity_key_new(&p.key), 0);
    assert_int_equal(identity_spki(p.key, &spki), 0);
    assert_int_equal(identity_leaf(ca->key, buf_view(&ca->cert), buf_view(&spki), name, NULL, device, now_ms() - HOUR,
                                   until_ms, &p.cert, NULL),
                     0);
    buf_done(&spki);
    return p;
}

static inline struct party make_leaf(const struct party *ca, const char *name, bool device)
{
    return make_leaf_until(ca, name, device, now_ms() + HOUR);
}

static inline void drop(struct party *p)
{
    identity_key_free(p->key);
    buf_done(&p->cert);
}

/* One network: a node under its identity, a device under the device CA. */
struct net {
    struct party identity, node, device_ca, device;
};

static inline struct net make_net(void)
{
    struct net n = {.identity = make_ca("n1"), .device_ca = make_ca("devices")};
    n.node = make_leaf(&n.identity, "n1", false);
    n.device = make_leaf(&n.device_ca, "w1", true);
    return n;
}

static inline void drop_net(struct net *n)
{
    drop(&n->node);
    drop(&n->device);
    drop(&n->identity);
    drop(&n->device_ca);
}

static inline struct tls_context *make_context(bool server, const struct party *leaf, const struct party *anchor)
{
    struct bytes anchors[] = {buf_view(&anchor->cert)};
    struct tls_settings s = {.server = server,
                             .leaf_der = buf_view(&leaf->cert),
                             .leaf_key = leaf->key,
                             .anchors = anchors,
                             .anchor_count = 1};
    struct tls_context *c = NULL;
    struct err err = {0};
    if (tls_context_new(&s, &c, &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

#endif
