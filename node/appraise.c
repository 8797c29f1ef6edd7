/* appraise: facts against a policy's factors. */
#include "node/appraise.h"
#include "common/base/mutant.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MINUTE_MS 60000u
#define DAY_MINUTES 1440u

static void words(char *out, size_t len, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void words(char *out, size_t len, const char *format, ...)
{
    if (len == 0)
        return;
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(out, len, format, ap); /* cut short when it does not fit: words only */
    va_end(ap);
}

static void judge_device(const struct factor *f, const struct appraise_facts *facts, struct appraise_leaf *leaf)
{
    (void)f;
    char hex[2 * HASH_LEN + 1];
    hex_encode(BYTES(facts->device_key, HASH_LEN), hex);
    words(leaf->expected, sizeof(leaf->expected), "a device of the inventory");
    leaf->met = facts->device != NULL;
    words(leaf->actual, sizeof(leaf->actual), "%s (key %s)",
          leaf->met ? facts->device->id : "a key that the inventory does not list, or that is revoked", hex);
    leaf->code = leaf->met ? 0 : ERR_DEVICE;
}

static bool in_cidr(const struct cidr *c, const uint8_t address[16])
{
    unsigned whole = c->prefix / 8, rest = c->prefix % 8;
    if (memcmp(c->address, address, whole) != 0)
        return false;
    if (rest == 0)
        return true;
    uint8_t mask = (uint8_t)(0xff << (8 - rest));
    return (c->address[whole] & mask) == (address[whole] & mask);
}

static void address_words(const uint8_t a[16], char out[64])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (memcmp(a, mapped, 12) == 0)
        words(out, 64, "%u.%u.%u.%u", a[12], a[13], a[14], a[15]);
    else
        words(out, 64, "%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x", a[0], a[1], a[2],
              a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]);
}

static void judge_network(const struct factor *f, const struct appraise_facts *facts, struct appraise_leaf *leaf)
{
    size_t used = 0;
    for (size_t i = 0; i < f->cidr_count; i++) {
        char text[64];
        bool v4 = f->cidrs[i].prefix >= 96;
        address_words(f->cidrs[i].address, text);
        words(leaf->expected + used, sizeof(leaf->expected) - used, "%s%s/%u", i > 0 ? ", " : "", text,
              v4 ? f->cidrs[i].prefix - 96 : f->cidrs[i].prefix);
        used = strlen(leaf->expected);
        leaf->met = leaf->met || in_cidr(&f->cidrs[i], facts->address);
    }
    address_words(facts->address, leaf->actual);
    leaf->code = leaf->met ? 0 : ERR_NETWORK;
}

static void judge_time(const struct factor *f, const struct appraise_facts *facts, struct appraise_leaf *leaf)
{
    static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    uint64_t minutes = facts->now_ms / MINUTE_MS;
    unsigned minute = (unsigned)(minutes % DAY_MINUTES);
    unsigned day = (unsigned)((minutes / DAY_MINUTES + 3) % 7); /* 1970-01-01 was a Thursday */
    bool late = f->from_minute <= f->to_minute || minute >= f->from_minute;
    unsigned counted = late ? day : (day + 6) % 7; /* after midnight the window belongs to the day before */
    bool inside = f->from_minute < f->to_minute ? minute >= f->from_minute && minute < f->to_minute
                                                : minute >= f->from_minute || minute < f->to_minute;
    leaf->met = inside && (f->days >> counted & 1) != 0;
    leaf->code = leaf->met ? 0 : ERR_TIME;
    char days[40] = "";
    for (unsigned i = 0; i < 7; i++)
        if (f->days >> i & 1)
            words(days + strlen(days), sizeof(days) - strlen(days), "%s%s", days[0] != '\0' ? " " : "", names[i]);
    words(leaf->expected, sizeof(leaf->expected), "%s, %02u:%02u to %02u:%02u UTC", days, f->from_minute / 60,
          f->from_minute % 60, f->to_minute / 60, f->to_minute % 60);
    words(leaf->actual, sizeof(leaf->actual), "%s %02u:%02u UTC", names[day], minute / 60, minute % 60);
}

static bool pcr_matches(const struct pcr_reference *want, const struct claims *c)
{
    if (want->index >= EVIDENCE_PCR_COUNT || (c->pcr_mask >> want->index & 1) == 0)
        return false;
    for (size_t i = 0; i < want->count; i++)
        if (memcmp(want->values[i], c->pcr[want->index], HASH_LEN) == 0)
            return true;
    return false;
}

/* The claims of one verified piece against one evidence factor. */
static void judge_claims(const struct factor *f, const struct appraise_facts *facts, const struct claims *c,
                         struct appraise_leaf *leaf)
{
    if (facts->device == NULL || bytes_is_zero(BYTES_OF(facts->device->ak_hash)) ||
        (memcmp(facts->device->ak_hash, c->key_hash, HASH_LEN) != 0 && !mutant("TUPLE"))) {
        words(leaf->expected, sizeof(leaf->expected), "the attestation key that the inventory lists for this device");
        words(leaf->actual, sizeof(leaf->actual), "another attestation key, or the device is not enrolled with one");
        leaf->code = ERR_DEVICE;
        return;
    }
    for (size_t i = 0; i < f->pcr_count; i++) {
        const struct pcr_reference *want = &f->pcrs[i];
        if (pcr_matches(want, c))
            continue;
        char is[2 * HASH_LEN + 1] = "not in the quote", should[2 * HASH_LEN + 1];
        if (want->index < EVIDENCE_PCR_COUNT && (c->pcr_mask >> want->index & 1) != 0)
            hex_encode(BYTES_OF(c->pcr[want->index]), is);
        hex_encode(BYTES(want->values[0], HASH_LEN), should);
        words(leaf->expected, sizeof(leaf->expected), "PCR %u = %s%s", want->index, should,
              want->count > 1 ? " or another listed value" : "");
        words(leaf->actual, sizeof(leaf->actual), "PCR %u = %s", want->index, is);
        leaf->code = ERR_EVIDENCE;
        return;
    }
    words(leaf->expected, sizeof(leaf->expected), "%zu PCR values", f->pcr_count);
    words(leaf->actual, sizeof(leaf->actual), "the same, bound to this session");
    leaf->met = true;
    leaf->code = 0;
}

static void judge_evidence(const struct factor *f, const struct appraise_facts *facts, struct appraise_leaf *leaf)
{
    words(leaf->expected, sizeof(leaf->expected), "evidence of format %s, bound to this session", f->format);
    words(leaf->actual, sizeof(leaf->actual), "none");
    leaf->code = ERR_EVIDENCE;
    for (size_t i = 0; i < facts->evidence_count && !leaf->met; i++) {
        const struct appraise_evidence *e = &facts->evidence[i];
        if (e->format == NULL || strcmp(e->format->name, f->format) != 0)
            continue;
        if (e->code != 0) {
            leaf->code = e->code;
            words(leaf->actual, sizeof(leaf->actual), "%s", e->why);
            continue;
        }
        judge_claims(f, facts, &e->claims, leaf);
    }
}

/* Met as far as facts go: node/quota.c counts, when everything else holds. */
static void judge_quota(const struct factor *f, const struct appraise_facts *facts, struct appraise_leaf *leaf)
{
    static const char *const per[] = {
        [QUOTA_PER_DEVICE] = "device", [QUOTA_PER_SECRET] = "secret", [QUOTA_PER_POLICY] = "policy"};
    (void)facts;
    words(leaf->expected, sizeof(leaf->expected), "at most %llu in %llu s per %s", (unsigned long long)f->quota_count,
          (unsigned long long)(f->quota_window_ms / 1000), per[f->quota_per]);
    words(leaf->actual, sizeof(leaf->actual), "counted when all else holds");
    leaf->met = true;
    leaf->code = 0;
}

static const struct {
    enum factor_kind kind;
    const char *name;
    void (*judge)(const struct factor *f, const struct appraise_facts *facts, struct appraise_leaf *leaf);
} leaves[] = {
    {FACTOR_EVIDENCE, "evidence", judge_evidence}, {FACTOR_DEVICE, "device", judge_device},
    {FACTOR_NETWORK, "network", judge_network},    {FACTOR_TIME, "time", judge_time},
    {FACTOR_QUOTA, "quota", judge_quota},
};
#define LEAF_KINDS (sizeof(leaves) / sizeof(leaves[0]))

static void leaf_name(const struct factor *f, const char *kind, char ret[80])
{
    if (f->kind == FACTOR_EVIDENCE)
        words(ret, 80, "%s:%s", kind, f->format);
    else
        words(ret, 80, "%s", kind);
}

static int walk_tree(const struct factor *f, const struct appraise_facts *facts, struct appraise_verdict *v,
                     int *ret_code, unsigned depth);

/* all, any, at least: how many children hold; the code is that of the first that does not. */
static int walk_children(const struct factor *f, const struct appraise_facts *facts, struct appraise_verdict *v,
                         int *ret_code, unsigned depth)
{
    size_t met = 0, need = f->kind == FACTOR_ANY ? 1 : f->kind == FACTOR_AT_LEAST ? f->at_least : f->child_count;
    int first = ERR_POLICY;
    for (size_t i = 0; i < f->child_count; i++) {
        int code = ERR_INTERNAL;
        TRY(walk_tree(&f->children[i], facts, v, &code, depth + 1));
        if (code == 0)
            met++;
        else if (first == ERR_POLICY)
            first = code;
    }
    *ret_code = f->child_count > 0 && need > 0 && met >= need ? 0 : first;
    return 0;
}

static int walk_tree(const struct factor *f, const struct appraise_facts *facts, struct appraise_verdict *v,
                     int *ret_code, unsigned depth)
{
    if (depth > FACTOR_DEPTH_MAX)
        return ERR_FULL;
    if (f->kind == FACTOR_ALL || f->kind == FACTOR_ANY || f->kind == FACTOR_AT_LEAST)
        return walk_children(f, facts, v, ret_code, depth);
    for (size_t i = 0; i < LEAF_KINDS; i++) {
        if (leaves[i].kind != f->kind)
            continue;
        if (v->count >= APPRAISE_LEAVES_MAX)
            return ERR_FULL;
        struct appraise_leaf *leaf = &v->leaf[v->count++];
        *leaf = (struct appraise_leaf){.code = ERR_POLICY};
        leaf_name(f, leaves[i].name, leaf->name);
        if (facts != NULL)
            leaves[i].judge(f, facts, leaf);
        *ret_code = leaf->met ? 0 : leaf->code;
        return 0;
    }
    return ERR_POLICY; /* a kind without a judge is never met */
}

int appraise(const struct factor *tree, const struct appraise_facts *facts, struct appraise_verdict *ret)
{
    *ret = (struct appraise_verdict){.code = ERR_POLICY};
    int code = ERR_POLICY;
    TRY(walk_tree(tree, facts, ret, &code, 0));
    ret->code = code;
    return 0;
}

int appraise_names(const struct factor *tree, char (*ret_names)[80], size_t max, size_t *ret_count)
{
    struct appraise_verdict v = {0};
    int code;
    TRY(walk_tree(tree, NULL, &v, &code, 0));
    if (v.count > max)
        return ERR_FULL;
    for (size_t i = 0; i < v.count; i++)
        memcpy(ret_names[i], v.leaf[i].name, sizeof(v.leaf[i].name));
    *ret_count = v.count;
    return 0;
}
