/* limits: connections and Begins per address. */
#include "node/limits.h"
#include <stdlib.h>
#include <string.h>

#define MINUTE_MS 60000u

struct address {
    uint8_t prefix[16];
    unsigned connections;
    uint64_t credit, documents, since_ms; /* credits in requests × MINUTE_MS */
};

struct limits {
    unsigned connections_max, per_address, begins_per_minute;
    unsigned connections;
    unsigned count;
    struct address at[LIMITS_ADDRESSES_MAX];
};

struct limits *limits_new(unsigned connections, unsigned per_address, unsigned begins_per_minute)
{
    struct limits *l = calloc(1, sizeof(*l));
    if (l != NULL) {
        l->connections_max = connections;
        l->per_address = per_address;
        l->begins_per_minute = begins_per_minute;
    }
    return l;
}

void limits_free(struct limits *l)
{
    free(l);
}

static void prefix_of(const uint8_t address[16], uint8_t ret[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memcpy(ret, address, 16);
    if (memcmp(address, mapped, sizeof(mapped)) != 0)
        memset(ret + 8, 0, 8);
}

static uint64_t full(const struct limits *l)
{
    return (uint64_t)l->begins_per_minute * MINUTE_MS;
}

static void refill(const struct limits *l, struct address *a, uint64_t now_ms)
{
    uint64_t passed = now_ms > a->since_ms ? now_ms - a->since_ms : 0;
    if (passed > MINUTE_MS)
        passed = MINUTE_MS;
    uint64_t *const credits[] = {&a->credit, &a->documents};
    for (size_t i = 0; i < 2; i++) {
        *credits[i] += passed * l->begins_per_minute;
        if (*credits[i] > full(l))
            *credits[i] = full(l);
    }
    a->since_ms = now_ms;
}

static struct address *find(struct limits *l, const uint8_t address[16], bool make, uint64_t now_ms)
{
    uint8_t prefix[16];
    prefix_of(address, prefix);
    struct address *idle = NULL;
    for (unsigned i = 0; i < l->count; i++) {
        struct address *a = &l->at[i];
        if (memcmp(a->prefix, prefix, sizeof(prefix)) == 0)
            return a;
        if (make && idle == NULL && a->connections == 0) {
            refill(l, a, now_ms);
            idle = a->credit == full(l) && a->documents == full(l) ? a : NULL;
        }
    }
    if (!make)
        return NULL;
    if (l->count < LIMITS_ADDRESSES_MAX)
        idle = &l->at[l->count++];
    if (idle != NULL) {
        *idle = (struct address){.credit = full(l), .documents = full(l), .since_ms = now_ms};
        memcpy(idle->prefix, prefix, sizeof(prefix));
    }
    return idle;
}

bool limits_connect(struct limits *l, const uint8_t address[16], uint64_t now_ms)
{
    struct address *a = l->connections < l->connections_max ? find(l, address, true, now_ms) : NULL;
    if (a == NULL || a->connections >= l->per_address)
        return false;
    a->connections++;
    l->connections++;
    return true;
}

void limits_disconnect(struct limits *l, const uint8_t address[16])
{
    struct address *a = find(l, address, false, 0);
    if (a != NULL && a->connections > 0) {
        a->connections--;
        l->connections--;
    }
}

static bool spend(uint64_t *credit)
{
    if (*credit < MINUTE_MS)
        return false;
    *credit -= MINUTE_MS;
    return true;
}

bool limits_begin(struct limits *l, const uint8_t address[16], uint64_t now_ms, uint64_t *ret_retry_ms)
{
    struct address *a = find(l, address, true, now_ms);
    *ret_retry_ms = MINUTE_MS / l->begins_per_minute + 1;
    if (a == NULL)
        return false;
    refill(l, a, now_ms);
    return spend(&a->credit);
}

bool limits_documents(struct limits *l, const uint8_t address[16], uint64_t now_ms)
{
    struct address *a = find(l, address, true, now_ms);
    if (a == NULL)
        return false;
    refill(l, a, now_ms);
    return spend(&a->documents);
}
