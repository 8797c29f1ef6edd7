/* policy: the schema of the document that says what must hold at which stage. */
#include "common/documents/schema.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define OPERATIONS_MAX 64
#define OWNERS_MAX 16
#define FILTERS_MAX 64
#define CHAIN_LIFETIME_MAX_S (31u * 86400u)
#define PCR_COUNT 24
#define PCR_VALUES_MAX 16
#define CIDRS_MAX 64
#define DAYS_ALL 0x7fu

/* ---- the factor tree as libcyaml reads it: every key is optional here, read_factor wants exactly one */

struct raw_factor;
struct raw_at_least {
    char *count;
    struct raw_factor *of;
    unsigned of_count;
};
struct raw_pcr {
    char *index;
    char **values;
    unsigned values_count;
};
struct raw_evidence {
    char *format;
    struct raw_pcr *pcrs;
    unsigned pcrs_count;
};
struct raw_network {
    char **cidrs;
    unsigned cidrs_count;
};
struct raw_time {
    unsigned *days;
    unsigned days_count;
    char *from, *to;
};
struct raw_quota {
    char *count, *window_s;
    enum quota_per per;
};
struct raw_factor {
    struct raw_factor *all, *any;
    unsigned all_count, any_count;
    struct raw_at_least *at_least;
    struct raw_evidence *evidence;
    char *device;
    struct raw_network *network;
    struct raw_time *time;
    struct raw_quota *quota;
};

static const cyaml_schema_value_t factor_value; /* the tree: it stands within itself */

#define FIELD_FACTORS(key_, flags_, struct_, member_)                                                                  \
    CYAML_FIELD_SEQUENCE(key_, CYAML_FLAG_POINTER | (flags_), struct_, member_, &factor_value, 1, FACTOR_CHILDREN_MAX)
#define FIELD_MAPPING_OPTIONAL(key_, struct_, member_, fields_)                                                        \
    CYAML_FIELD_MAPPING_PTR(key_, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct_, member_, fields_)

static const cyaml_schema_field_t at_least_fields[] = {
    FIELD_TEXT("count", struct raw_at_least, count),
    FIELD_FACTORS("of", CYAML_FLAG_DEFAULT, struct raw_at_least, of),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t pcr_fields[] = {
    FIELD_TEXT("index", struct raw_pcr, index),
    FIELD_TEXTS("values", CYAML_FLAG_DEFAULT, struct raw_pcr, values, 1, PCR_VALUES_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t pcr_value = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_pcr, pcr_fields)};
static const cyaml_schema_field_t evidence_fields[] = {
    FIELD_TEXT("format", struct raw_evidence, format),
    CYAML_FIELD_SEQUENCE("pcrs", CYAML_FLAG_POINTER, struct raw_evidence, pcrs, &pcr_value, 1, PCR_COUNT),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t network_fields[] = {
    FIELD_TEXTS("cidrs", CYAML_FLAG_DEFAULT, struct raw_network, cidrs, 1, CIDRS_MAX),
    CYAML_FIELD_END,
};
static const cyaml_strval_t day_words[] = {{"mon", 0}, {"tue", 1}, {"wed", 2}, {"thu", 3},
                                           {"fri", 4}, {"sat", 5}, {"sun", 6}};
static const cyaml_schema_value_t day_value = {CYAML_VALUE_ENUM(CYAML_FLAG_STRICT, unsigned, day_words, 7)};
static const cyaml_schema_field_t time_fields[] = {
    CYAML_FIELD_SEQUENCE("days", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_time, days, &day_value, 1, 7),
    FIELD_TEXT("from", struct raw_time, from),
    FIELD_TEXT("to", struct raw_time, to),
    CYAML_FIELD_END,
};
static const cyaml_strval_t per_words[] = {
    {"device", QUOTA_PER_DEVICE}, {"secret", QUOTA_PER_SECRET}, {"policy", QUOTA_PER_POLICY}};
static const cyaml_schema_field_t quota_fields[] = {
    FIELD_TEXT("count", struct raw_quota, count),
    FIELD_TEXT("window_s", struct raw_quota, window_s),
    CYAML_FIELD_ENUM("per", CYAML_FLAG_STRICT, struct raw_quota, per, per_words, 3),
    CYAML_FIELD_END,
};
static const cyaml_schema_field_t factor_fields[] = {
    FIELD_FACTORS("all", CYAML_FLAG_OPTIONAL, struct raw_factor, all),
    FIELD_FACTORS("any", CYAML_FLAG_OPTIONAL, struct raw_factor, any),
    FIELD_MAPPING_OPTIONAL("at_least", struct raw_factor, at_least, at_least_fields),
    FIELD_MAPPING_OPTIONAL("evidence", struct raw_factor, evidence, evidence_fields),
    FIELD_TEXT_OPTIONAL("device", struct raw_factor, device),
    FIELD_MAPPING_OPTIONAL("network", struct raw_factor, network, network_fields),
    FIELD_MAPPING_OPTIONAL("time", struct raw_factor, time, time_fields),
    FIELD_MAPPING_OPTIONAL("quota", struct raw_factor, quota, quota_fields),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t factor_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_factor, factor_fields)};

/* ---- the rest of the schema */

struct raw_stage {
    char *name, *need, *min_regions, *min_operators, *min_vendors;
    char **regions, **operators, **vendors;
    unsigned regions_count, operators_count, vendors_count;
    enum audit_level audit;
    struct raw_factor factors;
};

struct raw_policy {
    struct head head;
    char *name, *chain_lifetime_s;
    char **operations, **owners;
    unsigned operations_count, owners_count;
    struct raw_stage *stages;
    unsigned stages_count;
};

static const cyaml_strval_t audit_words[] = {{"local", AUDIT_LOCAL}, {"confirmed", AUDIT_CONFIRMED}};
static const cyaml_schema_field_t stage_fields[] = {
    FIELD_TEXT("name", struct raw_stage, name),
    FIELD_TEXT("need", struct raw_stage, need),
    FIELD_TEXTS("regions", CYAML_FLAG_OPTIONAL, struct raw_stage, regions, 1, FILTERS_MAX),
    FIELD_TEXTS("operators", CYAML_FLAG_OPTIONAL, struct raw_stage, operators, 1, FILTERS_MAX),
    FIELD_TEXTS("vendors", CYAML_FLAG_OPTIONAL, struct raw_stage, vendors, 1, FILTERS_MAX),
    FIELD_TEXT_OPTIONAL("min_regions", struct raw_stage, min_regions),
    FIELD_TEXT_OPTIONAL("min_operators", struct raw_stage, min_operators),
    FIELD_TEXT_OPTIONAL("min_vendors", struct raw_stage, min_vendors),
    CYAML_FIELD_ENUM("audit", CYAML_FLAG_STRICT, struct raw_stage, audit, audit_words, 2),
    CYAML_FIELD_MAPPING("factors", CYAML_FLAG_DEFAULT, struct raw_stage, factors, factor_fields),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t stage_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_stage, stage_fields)};
static const cyaml_schema_field_t policy_fields[] = {
    FIELDS_HEAD(struct raw_policy),
    FIELD_TEXT("version", struct raw_policy, head.version),
    FIELD_TEXT("name", struct raw_policy, name),
    FIELD_TEXTS("operations", CYAML_FLAG_DEFAULT, struct raw_policy, operations, 1, OPERATIONS_MAX),
    FIELD_TEXTS("owners", CYAML_FLAG_DEFAULT, struct raw_policy, owners, 1, OWNERS_MAX),
    FIELD_TEXT("chain_lifetime_s", struct raw_policy, chain_lifetime_s),
    CYAML_FIELD_SEQUENCE("stages", CYAML_FLAG_POINTER, struct raw_policy, stages, &stage_value, 1, STAGE_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t policy_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_policy, policy_fields)};

/* ---- factors; each reader stands at the factor's own place */

#define PLACE_MAX sizeof(((struct reader *)0)->at)

static int read_factor(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f);

static int read_children(struct reader *r, const char *key, const struct raw_factor *raw, size_t count, unsigned depth,
                         struct factor *f)
{
    char place[PLACE_MAX];
    (void)snprintf(place, sizeof(place), "%s", r->at);
    TRY(read_array(r, count, sizeof(*f->children), &f->children));
    f->child_count = count;
    for (size_t i = 0; i < count; i++) {
        reader_at(r, "%s.%s[%zu]", place, key, i);
        TRY(read_factor(r, &raw[i], depth + 1, &f->children[i]));
    }
    reader_at(r, "%s", place);
    return 0;
}

static int read_at_least(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f)
{
    TRY(read_unsigned(r, "at_least.count", raw->at_least->count, 1, raw->at_least->of_count, &f->at_least));
    return read_children(r, "at_least.of", raw->at_least->of, raw->at_least->of_count, depth, f);
}

static int read_all(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f)
{
    return read_children(r, "all", raw->all, raw->all_count, depth, f);
}

static int read_any(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f)
{
    return read_children(r, "any", raw->any, raw->any_count, depth, f);
}

static int read_pcr(struct reader *r, size_t i, const struct raw_pcr *raw, struct pcr_reference *pcr)
{
    char key[64];
    (void)snprintf(key, sizeof(key), "evidence.pcrs[%zu].index", i);
    TRY(read_unsigned(r, key, raw->index, 0, PCR_COUNT - 1, &pcr->index));
    TRY(read_array(r, raw->values_count, sizeof(*pcr->values), &pcr->values));
    for (size_t j = 0; j < raw->values_count; j++) {
        (void)snprintf(key, sizeof(key), "evidence.pcrs[%zu].values[%zu]", i, j);
        TRY(read_hex(r, key, raw->values[j], pcr->values[j], HASH_LEN));
    }
    pcr->count = raw->values_count;
    return 0;
}

static int read_evidence(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f)
{
    const struct raw_evidence *e = raw->evidence;
    (void)depth;
    TRY(read_name(r, "evidence.format", e->format, f->format));
    TRY(read_array(r, e->pcrs_count, sizeof(*f->pcrs), &f->pcrs));
    f->pcr_count = e->pcrs_count;
    for (size_t i = 0; i < e->pcrs_count; i++) {
        TRY(read_pcr(r, i, &e->pcrs[i], &f->pcrs[i]));
        if (i > 0 && f->pcrs[i].index <= f->pcrs[i - 1].index)
            return read_fail(r, ERR_FORMAT, "evidence.pcrs", "indexes must ascend, each once");
    }
    return 0;
}

static int read_device(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f)
{
    (void)depth;
    (void)f;
    if (strcmp(raw->device, "enrolled") != 0)
        return read_fail(r, ERR_FORMAT, "device", "must be the word enrolled");
    return 0;
}

/* One spelling: no bits beyond the prefix, IPv6 as inet_ntop writes it, IPv4 never inside IPv6. */
static bool cidr_parse(const char *text, struct cidr *ret)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const char *slash = strchr(text, '/');
    char host[INET6_ADDRSTRLEN], again[INET6_ADDRSTRLEN];
    if (slash == NULL || (size_t)(slash - text) >= sizeof(host))
        return false;
    memcpy(host, text, (size_t)(slash - text));
    host[slash - text] = '\0';
    bool four = strchr(host, ':') == NULL;
    uint8_t *at = four ? ret->address + 12 : ret->address;
    uint64_t prefix;
    if (inet_pton(four ? AF_INET : AF_INET6, host, at) != 1 ||
        inet_ntop(four ? AF_INET : AF_INET6, at, again, sizeof(again)) == NULL || strcmp(host, again) != 0 ||
        text_u64(slash + 1, "prefix", 0, four ? 32 : 128, &prefix, NULL) != 0)
        return false;
    if (!four && memcmp(ret->address, mapped, sizeof(mapped)) == 0)
        return false;
    if (four)
        memcpy(ret->address, mapped, sizeof(mapped));
    ret->prefix = (unsigned)prefix + (four ? 96 : 0);
    for (unsigned bit = ret->prefix; bit < 128; bit++)
        if ((ret->address[bit / 8] >> (7 - bit % 8) & 1) != 0)
            return false;
    return true;
}

static int read_network(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f)
{
    const struct raw_network *n = raw->network;
    (void)depth;
    TRY(read_array(r, n->cidrs_count, sizeof(*f->cidrs), &f->cidrs));
    f->cidr_count = n->cidrs_count;
    for (size_t i = 0; i < n->cidrs_count; i++) {
        char key[64];
        (void)snprintf(key, sizeof(key), "network.cidrs[%zu]", i);
        if (!cidr_parse(n->cidrs[i], &f->cidrs[i]))
            return read_fail(r, ERR_FORMAT, key,
                             "'%.50s' is not a network like 10.1.0.0/16 or fd00::/8 (no bits beyond the prefix)",
                             n->cidrs[i]);
    }
    return 0;
}

/* "HH:MM" */
static bool minute_parse(const char *text, unsigned max, unsigned *ret)
{
    if (strlen(text) != 5 || text[2] != ':')
        return false;
    for (size_t i = 0; i < 5; i++)
        if (i != 2 && (text[i] < '0' || text[i] > '9'))
            return false;
    unsigned hour = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
    unsigned minute = (unsigned)(text[3] - '0') * 10 + (unsigned)(text[4] - '0');
    *ret = hour * 60 + minute;
    return minute < 60 && *ret <= max;
}

static int read_window(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f)
{
    const struct raw_time *t = raw->time;
    (void)depth;
    for (size_t i = 0; i < t->days_count; i++) {
        if ((f->days >> t->days[i] & 1) != 0)
            return read_fail(r, ERR_FORMAT, "time.days", "a day stands here twice; keep one");
        f->days |= 1u << t->days[i];
    }
    if (t->days_count == 0)
        f->days = DAYS_ALL;
    if (!minute_parse(t->from, 1439, &f->from_minute))
        return read_fail(r, ERR_FORMAT, "time.from", "must be \"HH:MM\", at most \"23:59\"");
    if (!minute_parse(t->to, 1440, &f->to_minute))
        return read_fail(r, ERR_FORMAT, "time.to", "must be \"HH:MM\", at most \"24:00\"");
    if (f->from_minute == f->to_minute)
        return read_fail(r, ERR_FORMAT, "time.to", "the same as from: this window never opens");
    return 0;
}

static int read_quota(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f)
{
    uint64_t window_s;
    (void)depth;
    TRY(read_u64(r, "quota.count", raw->quota->count, 1, QUOTA_COUNT_MAX, &f->quota_count));
    TRY(read_u64(r, "quota.window_s", raw->quota->window_s, 1, QUOTA_WINDOW_MAX_S, &window_s));
    f->quota_window_ms = window_s * 1000;
    f->quota_per = raw->quota->per;
    return 0;
}

static int read_factor(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f)
{
    const struct {
        bool there;
        enum factor_kind kind;
        int (*read)(struct reader *r, const struct raw_factor *raw, unsigned depth, struct factor *f);
    } rows[] = {
        {raw->all != NULL, FACTOR_ALL, read_all},
        {raw->any != NULL, FACTOR_ANY, read_any},
        {raw->at_least != NULL, FACTOR_AT_LEAST, read_at_least},
        {raw->evidence != NULL, FACTOR_EVIDENCE, read_evidence},
        {raw->device != NULL, FACTOR_DEVICE, read_device},
        {raw->network != NULL, FACTOR_NETWORK, read_network},
        {raw->time != NULL, FACTOR_TIME, read_window},
        {raw->quota != NULL, FACTOR_QUOTA, read_quota},
    };
    size_t count = 0, found = 0;
    if (depth > FACTOR_DEPTH_MAX)
        return read_fail(r, ERR_FORMAT, NULL, "factors nested deeper than %d", FACTOR_DEPTH_MAX);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].there) {
            count++;
            found = i;
        }
    if (count != 1)
        return read_fail(
            r, ERR_FORMAT, NULL,
            "holds %zu factors, must be exactly one of all, any, at_least, evidence, device, network, time, quota",
            count);
    f->kind = rows[found].kind;
    return rows[found].read(r, raw, depth, f);
}

static bool has_quota(const struct factor *f)
{
    bool has = f->kind == FACTOR_QUOTA;
    for (size_t i = 0; i < f->child_count && !has; i++)
        has = has_quota(&f->children[i]);
    return has;
}

/* Under any or at_least it would be open whether a unit is to be taken. */
static int check_quotas(struct reader *r, const struct factor *top)
{
    for (size_t i = 0; i < top->child_count; i++) {
        const struct factor *f = &top->children[i];
        if (has_quota(f) && (top->kind != FACTOR_ALL || f->kind != FACTOR_QUOTA))
            return read_fail(r, ERR_FORMAT, NULL, "a quota stands alone or directly under the topmost all");
        for (size_t j = 0; j < i && f->kind == FACTOR_QUOTA; j++)
            if (top->children[j].kind == FACTOR_QUOTA && top->children[j].quota_per == f->quota_per &&
                top->children[j].quota_window_ms == f->quota_window_ms)
                return read_fail(r, ERR_FORMAT, NULL, "two quotas with the same window_s and per; keep one");
    }
    return 0;
}

/* ---- stages and the whole */

static int read_minimum(struct reader *r, const char *key, const char *text, unsigned *ret)
{
    return text != NULL ? read_unsigned(r, key, text, 1, SLOT_MAX, ret) : 0;
}

static int read_stage(struct reader *r, size_t i, const struct raw_stage *raw, struct policy_stage *s)
{
    reader_at(r, "stages[%zu]", i);
    TRY(read_name(r, "name", raw->name, s->name));
    for (size_t j = 0; j < i; j++)
        if (strcmp(r->d->policy.stages[j].name, s->name) == 0)
            return read_fail(r, ERR_FORMAT, "name", "the same as stages[%zu].name", j);
    TRY(read_unsigned(r, "need", raw->need, 1, SLOT_MAX, &s->need));
    TRY(read_names(r, "regions", raw->regions, raw->regions_count, &s->regions, &s->region_count));
    TRY(read_names(r, "operators", raw->operators, raw->operators_count, &s->operators, &s->operator_count));
    TRY(read_names(r, "vendors", raw->vendors, raw->vendors_count, &s->vendors, &s->vendor_count));
    TRY(read_minimum(r, "min_regions", raw->min_regions, &s->min_regions));
    TRY(read_minimum(r, "min_operators", raw->min_operators, &s->min_operators));
    TRY(read_minimum(r, "min_vendors", raw->min_vendors, &s->min_vendors));
    s->audit = raw->audit;
    reader_at(r, "stages[%zu].factors", i);
    TRY(read_factor(r, &raw->factors, 1, &s->factors));
    return check_quotas(r, &s->factors);
}

static int read_policy(struct reader *r, const void *raw_)
{
    const struct raw_policy *raw = raw_;
    struct policy *p = &r->d->policy;
    uint64_t lifetime_s;
    TRY(read_head(r, &raw->head));
    TRY(read_name(r, "name", raw->name, p->name));
    memcpy(r->d->name, p->name, sizeof(r->d->name));
    TRY(read_names(r, "operations", raw->operations, raw->operations_count, &p->operations, &p->operation_count));
    TRY(read_vkeys(r, "owners", raw->owners, raw->owners_count, &p->owners, &p->owner_count));
    TRY(read_array(r, p->owner_count, sizeof(*p->owner_signed), &p->owner_signed));
    TRY(read_u64(r, "chain_lifetime_s", raw->chain_lifetime_s, 1, CHAIN_LIFETIME_MAX_S, &lifetime_s));
    p->chain_lifetime_ms = lifetime_s * 1000;
    TRY(read_array(r, raw->stages_count, sizeof(*p->stages), &p->stages));
    for (size_t i = 0; i < raw->stages_count; i++)
        TRY(read_stage(r, i, &raw->stages[i], &p->stages[i]));
    p->stage_count = raw->stages_count;
    return 0;
}

const struct schema policy_schema = {&policy_value, read_policy, NULL};
