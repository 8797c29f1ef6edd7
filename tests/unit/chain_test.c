/* chain: each rule alone turns an admissible chain inadmissible; what passes after random changes is admissible by a
 * second judgement; generated chains pass, prefer the healthy and say which stage lacks members. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/documents/chain.h"
#include "tests/lib/network.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct chain_world world(const struct network *n)
{
    return (struct chain_world){n->policy, n->envelope, n->roster, n->status};
}

static void set(char *field, size_t size, const char *value)
{
    (void)snprintf(field, size, "%s", value);
}
#define SET(field_, value_) set((field_), sizeof(field_), (value_))

/* ---- one row per rule */

#define GATE(n_) ((n_)->chain->chain.stages[0])
#define VAULT(n_) ((n_)->chain->chain.stages[1])
#define NODE(n_, i_) ((n_)->roster->roster.nodes[(i_)-1])

static void other_network_chain(struct network *n)
{
    SET(n->chain->network, "other.test");
}
static void other_network_policy(struct network *n)
{
    SET(n->policy->network, "other.test");
}
static void other_network_envelope(struct network *n)
{
    SET(n->envelope->network, "other.test");
}
static void other_network_roster(struct network *n)
{
    SET(n->roster->network, "other.test");
}
static void other_network_status(struct network *n)
{
    SET(n->status->network, "other.test");
}
static void other_policy_hash(struct network *n)
{
    n->chain->chain.policy_hash[31] ^= 1;
}
static void other_envelope_hash(struct network *n)
{
    n->chain->chain.envelope_hash[0] ^= 1;
}
static void status_names_another_version(struct network *n)
{
    n->status->status.documents[3].hash[5] ^= 1;
}
static void status_names_no_such_policy(struct network *n)
{
    SET(n->status->status.documents[3].name, "web-policy");
}
static void status_names_a_roster_of_that_hash(struct network *n)
{
    n->status->status.documents[3].type = DOCUMENT_ROSTER;
}
static void envelope_of_another_policy(struct network *n)
{
    SET(n->envelope->envelope.policy_name, "web-policy");
}
static void owner_is_not_the_policys(struct network *n)
{
    n->envelope->envelope.owner[0] ^= 1;
}
static void neither_named_nor_signed(struct network *n)
{
    n->envelope->envelope.policy_hash[0] ^= 1;
    n->policy->policy.owner_signed[0] = false;
}
static void operation_not_the_envelopes(struct network *n)
{
    SET(n->chain->chain.operation, "rotate-db");
}
static void operation_not_the_policys(struct network *n)
{
    SET(n->policy->policy.operations[0], "erase-db");
}
static void policy_expired(struct network *n)
{
    n->policy->expires_ms = NETWORK_NOW_MS;
}
static void envelope_expired(struct network *n)
{
    n->envelope->expires_ms = NETWORK_NOW_MS;
}
static void roster_expired(struct network *n)
{
    n->roster->expires_ms = NETWORK_NOW_MS;
}
static void status_expired(struct network *n)
{
    n->status->expires_ms = NETWORK_NOW_MS;
}
static void not_after_passed(struct network *n)
{
    n->chain->expires_ms = NETWORK_NOW_MS;
}
static void not_after_too_far(struct network *n)
{
    n->chain->expires_ms = NETWORK_NOW_MS + 3600001;
}
static void stage_dropped(struct network *n)
{
    n->chain->chain.stage_count = 1;
}
static void stage_dropped_first(struct network *n)
{
    n->chain->chain.stages[0] = n->chain->chain.stages[1];
    n->chain->chain.stage_count = 1;
}
static void stages_swapped(struct network *n)
{
    struct chain_stage first = GATE(n);
    GATE(n) = VAULT(n);
    VAULT(n) = first;
}
static void stage_renamed(struct network *n)
{
    SET(GATE(n).name, "door");
}
static void stage_renamed_in_envelope(struct network *n)
{
    SET(n->envelope->envelope.stages[0].name, "door");
}
static void stage_renamed_in_policy(struct network *n)
{
    SET(n->policy->policy.stages[0].name, "door");
}
static void stage_missing_in_envelope(struct network *n)
{
    n->envelope->envelope.stage_count = 1;
}
static void stage_missing_in_policy(struct network *n)
{
    n->policy->policy.stage_count = 1;
}
static void need_lowered(struct network *n)
{
    VAULT(n).need = 1;
}
static void need_raised(struct network *n)
{
    VAULT(n).need = 3;
}
static void need_below_policy(struct network *n)
{
    n->policy->policy.stages[1].need = 3;
}
static void fewer_members_than_need(struct network *n)
{
    VAULT(n).count = 1;
}
static void no_members(struct network *n)
{
    GATE(n).count = 0;
}
static void member_not_in_envelope(struct network *n)
{
    SET(GATE(n).members[0].node, "n9");
}
static void member_of_another_stage(struct network *n)
{
    SET(GATE(n).members[0].node, "n5");
} /* slot 2 of vault */
static void slot_of_another_member(struct network *n)
{
    GATE(n).members[0].slot = 3;
}
static void slot_of_nobody(struct network *n)
{
    GATE(n).members[0].slot = 9;
}
static void member_twice(struct network *n)
{
    VAULT(n).members[1] = VAULT(n).members[0];
}
static void node_in_two_stages(struct network *n)
{
    SET(n->envelope->envelope.stages[1].members[0].node, "n2");
    memcpy(n->envelope->envelope.stages[1].members[0].seal, NODE(n, 2).seal, EC_POINT_LEN);
    SET(VAULT(n).members[0].node, "n2");
    n->policy->policy.stages[1].operator_count = n->policy->policy.stages[1].min_regions = 0;
}
static void seal_key_in_two_slots(struct network *n)
{
    memcpy(NODE(n, 4).seal, NODE(n, 2).seal, EC_POINT_LEN);
    memcpy(n->envelope->envelope.stages[1].members[0].seal, NODE(n, 2).seal, EC_POINT_LEN);
}
static void node_left_the_roster(struct network *n)
{
    SET(NODE(n, 2).name, "n20");
}
static void node_lost_its_role(struct network *n)
{
    NODE(n, 2).roles = NODE_MIRROR;
}
static void seal_key_changed(struct network *n)
{
    NODE(n, 5).seal[10] ^= 1;
}
static void profile_changed(struct network *n)
{
    NODE(n, 5).profile = 2;
}
static void region_not_allowed(struct network *n)
{
    SET(NODE(n, 5).region, "r9");
}
static void operator_not_allowed(struct network *n)
{
    SET(NODE(n, 5).operator_, "op1");
}
static void vendor_not_allowed(struct network *n)
{
    SET(NODE(n, 2).vendor, "acme");
}
static void regions_too_few(struct network *n)
{
    SET(NODE(n, 5).region, "r1");
} /* n4 and n5: 2 of the 3 listed */
static void regions_too_few_behind_the_first(struct network *n) /* n4 r1, n6 r3, n5 r3: the larger group comes last */
{
    SET(NODE(n, 5).region, "r3");
}
static void operators_too_few(struct network *n)
{
    SET(NODE(n, 6).operator_, "op4");
}
static void vendors_too_few(struct network *n)
{
    n->policy->policy.stages[1].min_vendors = 2;
}
static void chain_revoked(struct network *n)
{
    memcpy(n->status->status.revocations[2].hash, n->chain->hash, HASH_LEN);
}
static void member_revoked(struct network *n)
{
    SET(n->status->status.revocations[0].id, "n2");
}
static void alternate_revoked(struct network *n)
{
    SET(n->status->status.revocations[0].id, "n5");
}
static void generation_withdrawn(struct network *n)
{
    memcpy(n->status->status.withdrawals[0].owner, n->envelope->envelope.owner, ED25519_PUBLIC_LEN);
    memcpy(n->status->status.withdrawals[0].envelope, n->envelope->envelope.id, ENVELOPE_ID_LEN);
}
static void network_halted(struct network *n)
{
    n->status->status.halts[0] = (struct halt){.network = true};
}
static void node_halted(struct network *n)
{
    SET(n->status->status.halts[0].node, "n1");
}
static void policy_halted(struct network *n)
{
    SET(n->status->status.halts[1].policy, "db-policy");
}

static const struct {
    const char *name;
    void (*change)(struct network *n);
    int code;
    const char *text; /* a part of the error */
} rules[] = {
#define ROW(change_, code_, text_)                                                                                     \
    {                                                                                                                  \
#change_, change_, code_, text_                                                                                \
    }
    ROW(other_network_chain, ERR_CHAIN, "network other.test"),
    ROW(other_network_policy, ERR_CHAIN, "the policy to other.test"),
    ROW(other_network_envelope, ERR_CHAIN, "the envelope to other.test"),
    ROW(other_network_roster, ERR_CHAIN, "the roster to other.test"),
    ROW(other_network_status, ERR_CHAIN, "the status to other.test"),
    ROW(other_policy_hash, ERR_CHAIN, "another policy"),
    ROW(other_envelope_hash, ERR_CHAIN, "another envelope"),
    ROW(status_names_another_version, ERR_POLICY, "not this one"),
    ROW(status_names_no_such_policy, ERR_POLICY, "not in force"),
    ROW(status_names_a_roster_of_that_hash, ERR_POLICY, "not in force"),
    ROW(envelope_of_another_policy, ERR_POLICY, "for policy web-policy"),
    ROW(owner_is_not_the_policys, ERR_POLICY, "not an owner"),
    ROW(neither_named_nor_signed, ERR_POLICY, "did not sign"),
    ROW(operation_not_the_envelopes, ERR_CHAIN, "envelope is for operation"),
    ROW(operation_not_the_policys, ERR_CHAIN, "does not list operation"),
    ROW(policy_expired, ERR_EXPIRED, "policy db-policy has expired"),
    ROW(envelope_expired, ERR_EXPIRED, "envelope"),
    ROW(roster_expired, ERR_EXPIRED, "roster"),
    ROW(status_expired, ERR_EXPIRED, "status"),
    ROW(not_after_passed, ERR_EXPIRED, "not_after"),
    ROW(not_after_too_far, ERR_CHAIN, "chain_lifetime_s, 3600"),
    ROW(stage_dropped, ERR_CHAIN, "1 stages"),
    ROW(stage_dropped_first, ERR_CHAIN, "1 stages"),
    ROW(stages_swapped, ERR_CHAIN, "stage 1 is vault"),
    ROW(stage_renamed, ERR_CHAIN, "stage 1 is door"),
    ROW(stage_renamed_in_envelope, ERR_CHAIN, "door in the envelope"),
    ROW(stage_renamed_in_policy, ERR_CHAIN, "door in the policy"),
    ROW(stage_missing_in_envelope, ERR_CHAIN, "the envelope 1"),
    ROW(stage_missing_in_policy, ERR_CHAIN, "the policy 1"),
    ROW(need_lowered, ERR_CHAIN, "need is 1, the envelope's is 2"),
    ROW(need_raised, ERR_CHAIN, "need is 3, the envelope's is 2"),
    ROW(need_below_policy, ERR_CHAIN, "at least 3"),
    ROW(fewer_members_than_need, ERR_CHAIN, "lists 1 members and needs 2"),
    ROW(no_members, ERR_CHAIN, "lists 0 members"),
    ROW(member_not_in_envelope, ERR_CHAIN, "node n9 with slot 2"),
    ROW(member_of_another_stage, ERR_CHAIN, "node n5 with slot 2"),
    ROW(slot_of_another_member, ERR_CHAIN, "node n2 with slot 3"),
    ROW(slot_of_nobody, ERR_CHAIN, "node n2 with slot 9"),
    ROW(member_twice, ERR_CHAIN, "distinct regions"),
    ROW(node_in_two_stages, ERR_CHAIN, "node n2 is listed twice"),
    ROW(seal_key_in_two_slots, ERR_CHAIN, "have one seal key"),
    ROW(node_left_the_roster, ERR_CHAIN, "n2 is not in the roster"),
    ROW(node_lost_its_role, ERR_CHAIN, "n2 is not in the roster with the role hsm"),
    ROW(seal_key_changed, ERR_CHAIN, "another seal key or profile"),
    ROW(profile_changed, ERR_CHAIN, "another seal key or profile"),
    ROW(region_not_allowed, ERR_CHAIN, "region r9"),
    ROW(operator_not_allowed, ERR_CHAIN, "operator op1"),
    ROW(vendor_not_allowed, ERR_CHAIN, "vendor acme"),
    ROW(regions_too_few, ERR_CHAIN, "1 distinct regions, the policy wants 2"),
    ROW(regions_too_few_behind_the_first, ERR_CHAIN, "1 distinct regions, the policy wants 2"),
    ROW(operators_too_few, ERR_CHAIN, "1 distinct operators, the policy wants 2"),
    ROW(vendors_too_few, ERR_CHAIN, "1 distinct vendors, the policy wants 2"),
    ROW(chain_revoked, ERR_REVOKED, "the chain is revoked"),
    ROW(member_revoked, ERR_REVOKED, "node n2 is revoked"),
    ROW(alternate_revoked, ERR_REVOKED, "node n5 is revoked"),
    ROW(generation_withdrawn, ERR_REVOKED, "generation 1"),
    ROW(network_halted, ERR_HALTED, "network"),
    ROW(node_halted, ERR_HALTED, "node n1 is halted"),
    ROW(policy_halted, ERR_HALTED, "policy db-policy"),
#undef ROW
};

static void every_rule_alone_refuses(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        struct network n;
        struct err err = {0};
        network_init(&n);
        struct chain_world w = world(&n);
        assert_int_equal(chain_check(&w, n.chain, NETWORK_NOW_MS, &err), 0);
        rules[i].change(&n);
        int rc = chain_check(&w, n.chain, NETWORK_NOW_MS, &err);
        if (rc != rules[i].code || strstr(err.text, rules[i].text) == NULL) {
            print_error("%s: %s: %s\n", rules[i].name, err_name(rc), err.text);
            wrong++;
        }
        network_done(&n);
    }
    assert_int_equal(wrong, 0);
}

/* ---- what must stay allowed */

static void let_be(struct network *n)
{
    (void)n;
}
static void only_alternates_dropped(struct network *n)
{
    GATE(n).count = 1;
    VAULT(n).count = 2;
}
static void other_order(struct network *n)
{
    struct chain_member m = VAULT(n).members[0];
    VAULT(n).members[0] = VAULT(n).members[2];
    VAULT(n).members[2] = m;
}
static void named_but_not_signed(struct network *n)
{
    n->policy->policy.owner_signed[0] = false;
}
static void signed_but_not_named(struct network *n)
{
    n->envelope->envelope.policy_hash[0] ^= 1;
}
static void not_after_at_the_limit(struct network *n)
{
    n->chain->expires_ms = NETWORK_NOW_MS + 3600000;
}
static void unlisted_member_is_revoked(struct network *n)
{
    VAULT(n).count = 2; /* n4 and n6 */
    SET(n->status->status.revocations[0].id, "n5");
    SET(n->status->status.halts[0].node, "n5");
}
static void unlisted_member_left(struct network *n)
{
    VAULT(n).count = 2;
    SET(NODE(n, 5).name, "n50");
}
static void diversity_of_the_listed_only(struct network *n)
{
    VAULT(n).count = 2;
    SET(NODE(n, 5).region, "r1");
}
static void envelope_wants_more_than_the_policy(struct network *n)
{
    n->policy->policy.stages[1].need = 1;
}
static void another_generation_is_withdrawn(struct network *n)
{
    generation_withdrawn(n);
    n->status->status.withdrawals[0].least_generation = 1;
}
static void a_device_of_that_name_is_revoked(struct network *n)
{
    SET(n->status->status.revocations[1].id, "n2");
}

static void what_the_policy_allows_passes(void **state)
{
    (void)state;
    void (*const rows[])(struct network * n) = {let_be,
                                                only_alternates_dropped,
                                                other_order,
                                                named_but_not_signed,
                                                signed_but_not_named,
                                                not_after_at_the_limit,
                                                unlisted_member_is_revoked,
                                                unlisted_member_left,
                                                diversity_of_the_listed_only,
                                                envelope_wants_more_than_the_policy,
                                                another_generation_is_withdrawn,
                                                a_device_of_that_name_is_revoked};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct network n;
        struct err err = {0};
        network_init(&n);
        rows[i](&n);
        struct chain_world w = world(&n);
        if (chain_check(&w, n.chain, NETWORK_NOW_MS, &err) != 0)
            fail_msg("row %zu: %s", i, err.text);
        network_done(&n);
    }
}

/* ---- random changes against a second, slow judgement of this one network */

static uint64_t seed;
static uint32_t next_random(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static bool stage_admissible(const struct chain_stage *s, const char *name, unsigned need, int first)
{
    bool seen[4] = {false};
    if (strcmp(s->name, name) != 0 || s->need != need || s->count < need)
        return false;
    for (size_t i = 0; i < s->count; i++) {
        char node[16];
        unsigned slot = s->members[i].slot;
        if (slot < 1 || slot > 3 || seen[slot])
            return false;
        (void)snprintf(node, sizeof(node), "n%d", first + (int)slot - 1);
        if (strcmp(node, s->members[i].node) != 0)
            return false;
        seen[slot] = true;
    }
    return true;
}

static bool admissible(const struct network *n, const struct document *d)
{
    const struct chain *c = &d->chain;
    return strcmp(d->network, NETWORK_NAME) == 0 && strcmp(c->operation, "unlock-db") == 0 &&
           memcmp(c->policy_hash, n->policy->hash, HASH_LEN) == 0 &&
           memcmp(c->envelope_hash, n->envelope->hash, HASH_LEN) == 0 && d->expires_ms > NETWORK_NOW_MS &&
           d->expires_ms <= NETWORK_NOW_MS + 3600000 && c->stage_count == 2 &&
           stage_admissible(&c->stages[0], "gate", 1, 1) && stage_admissible(&c->stages[1], "vault", 2, 4);
}

static void change_one(struct document *d)
{
    struct chain *c = &d->chain;
    struct chain_stage *s = &c->stages[next_random(2)];
    struct chain_member *m = &s->members[next_random((uint32_t)(s->count > 0 ? s->count : 1))];
    switch (next_random(11)) {
    case 0:
        m->slot = next_random(5);
        break;
    case 1:
        (void)snprintf(m->node, sizeof(m->node), "n%u", next_random(8));
        break;
    case 2:
        s->need = next_random(4);
        break;
    case 3:
        s->count = next_random((uint32_t)s->count + 1);
        break;
    case 4: {
        struct chain_member *o = &s->members[next_random((uint32_t)(s->count > 0 ? s->count : 1))], t = *o;
        *o = *m;
        *m = t;
        break;
    }
    case 5: {
        unsigned slot = next_random(3) + 1; /* a member of this or of the other stage */
        m->slot = slot;
        (void)snprintf(m->node, sizeof(m->node), "n%u", slot + 3 * next_random(2));
        break;
    }
    case 6:
        d->expires_ms = NETWORK_NOW_MS + next_random(4000) * 1000ull;
        break;
    case 7:
        c->stage_count = next_random(3);
        break;
    case 8: {
        struct chain_stage t = c->stages[0];
        c->stages[0] = c->stages[1];
        c->stages[1] = t;
        break;
    }
    case 9:
        (next_random(2) == 0 ? c->policy_hash : c->envelope_hash)[next_random(HASH_LEN)] ^= (uint8_t)next_random(2);
        break;
    default:
        (void)snprintf(s->name, sizeof(s->name), "%s", next_random(2) == 0 ? "gate" : "vault");
    }
}

static void random_changes_agree_with_a_second_judgement(void **state)
{
    (void)state;
    struct network n;
    unsigned passed = 0;
    network_init(&n);
    struct chain_world w = world(&n);
    for (uint64_t round = 0; round < 8000; round++) {
        struct document *d = NULL;
        seed = round;
        assert_int_equal(document_parse(bytes_str(n.chain_text), "t", &d, NULL), 0);
        for (uint32_t i = 1 + next_random(3); i > 0; i--)
            change_one(d);
        bool mine = chain_check(&w, d, NETWORK_NOW_MS, NULL) == 0;
        if (mine != admissible(&n, d))
            fail_msg("seed %llu: chain_check says %s", (unsigned long long)round, mine ? "admissible" : "inadmissible");
        passed += mine;
        document_unref(d);
    }
    assert_in_range(passed, 200, 7800); /* both answers were met */
    network_done(&n);
}

static void random_texts_agree_with_a_second_judgement(void **state)
{
    (void)state;
    struct network n;
    unsigned parsed = 0;
    network_init(&n);
    struct chain_world w = world(&n);
    size_t len = strlen(n.chain_text);
    for (uint64_t round = 0; round < 5000; round++) {
        struct document *d = NULL;
        char *text = strdup(n.chain_text);
        seed = round;
        for (uint32_t i = 1 + next_random(2); i > 0; i--)
            text[next_random((uint32_t)len)] = " 0123456789abcdef{}[],:\n-#\"nz"[next_random(29)];
        if (document_parse(bytes_str(text), "t", &d, NULL) == 0) {
            parsed++;
            if ((chain_check(&w, d, NETWORK_NOW_MS, NULL) == 0) != admissible(&n, d))
                fail_msg("seed %llu:\n%s", (unsigned long long)round, text);
        }
        document_unref(d);
        free(text);
    }
    assert_in_range(parsed, 100, 5000);
    network_done(&n);
}

/* ---- generating */

static struct document *generate(const struct network *n, const struct chain_hint *hints, size_t count, struct err *err)
{
    struct chain_world w = world(n);
    struct buf text, again;
    struct document *d = NULL;
    if (chain_generate(&w, "unlock-db", NETWORK_NOW_MS, 0, hints, count, &text, err) != 0)
        return NULL;
    assert_int_equal(chain_generate(&w, "unlock-db", NETWORK_NOW_MS, 0, hints, count, &again, err), 0);
    assert_true(bytes_equal(buf_view(&text), buf_view(&again)));
    assert_int_equal(document_parse(buf_view(&text), "t", &d, err), 0);
    assert_int_equal(chain_check(&w, d, NETWORK_NOW_MS, err), 0);
    buf_done(&text);
    buf_done(&again);
    return d;
}

static void expect_members(const struct chain_stage *s, const char *nodes)
{
    struct buf got;
    buf_init(&got, 2048);
    for (size_t i = 0; i < s->count; i++)
        buf_printf(&got, "%s%s", i > 0 ? " " : "", s->members[i].node);
    assert_string_equal(buf_cstr(&got), nodes);
    buf_done(&got);
}

static void healthy_members_come_first(void **state)
{
    (void)state;
    struct network n;
    struct err err = {0};
    network_init(&n);
    struct document *d = generate(&n, NULL, 0, &err);
    assert_non_null(d);
    expect_members(&d->chain.stages[0], "n1 n2 n3");
    expect_members(&d->chain.stages[1], "n4 n5 n6");
    assert_int_equal(d->expires_ms, NETWORK_NOW_MS + 3600000 - 60000);
    document_unref(d);
    const struct chain_hint hints[] = {
        {"n1", true, 1}, {"n2", false, 20}, {"n3", false, 10}, {"n4", false, 5}, {"n9", true, 0}};
    d = generate(&n, hints, 5, &err);
    assert_non_null(d);
    expect_members(&d->chain.stages[0], "n3 n2 n1");
    expect_members(&d->chain.stages[1], "n5 n6 n4");
    document_unref(d);
    network_done(&n);
}

static void unusable_members_are_left_out(void **state)
{
    (void)state;
    struct network n;
    struct err err = {0};
    network_init(&n);
    SET(n.status->status.revocations[0].id, "n2");
    SET(n.status->status.halts[0].node, "n3");
    NODE(&n, 4).profile = 2;
    struct document *d = generate(&n, NULL, 0, &err);
    assert_non_null(d);
    expect_members(&d->chain.stages[0], "n1");
    expect_members(&d->chain.stages[1], "n5 n6");
    document_unref(d);
    SET(NODE(&n, 5).region, "r9");
    assert_null(generate(&n, NULL, 0, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_string_equal(
        err.text, "stage vault: 1 of its members may be used, it needs 2; the last one refused: stage vault: node n5: "
                  "the policy does not allow region r9");
    network_done(&n);
}

/* Greedy choice would take n4, which then keeps both others out. */
static void diversity_is_searched_for(void **state)
{
    (void)state;
    struct network n;
    struct err err = {0};
    network_init(&n);
    SET(NODE(&n, 5).region, "r1"); /* n4 r1 op4, n5 r1 op5, n6 r3 op4 */
    SET(NODE(&n, 6).operator_, "op4");
    struct document *d = generate(&n, NULL, 0, &err);
    assert_non_null(d);
    expect_members(&d->chain.stages[1], "n5 n6");
    document_unref(d);
    SET(NODE(&n, 6).operator_, "op5");
    SET(NODE(&n, 6).region, "r1");
    assert_null(generate(&n, NULL, 0, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_string_equal(err.text, "stage vault: no 2 of its members can stand together as the policy wants");
    network_done(&n);
}

/* n2 stands in both stages of the envelope; the gate must not take it from the vault. */
static void a_node_is_given_to_the_stage_that_needs_it(void **state)
{
    (void)state;
    struct network n;
    struct err err = {0};
    network_init(&n);
    node_in_two_stages(&n);
    SET(n.status->status.revocations[0].id, "n5");
    const struct chain_hint hints[] = {{"n1", false, 9}, {"n3", false, 9}};
    struct document *d = generate(&n, hints, 2, &err);
    assert_non_null(d);
    expect_members(&d->chain.stages[0], "n1 n3");
    expect_members(&d->chain.stages[1], "n2 n6");
    document_unref(d);
    network_done(&n);
}

static void lifetimes_and_operations_are_kept(void **state)
{
    (void)state;
    struct network n;
    struct err err = {0};
    struct buf text;
    struct document *d = NULL;
    network_init(&n);
    struct chain_world w = world(&n);
    assert_int_equal(chain_generate(&w, "unlock-db", NETWORK_NOW_MS, 90000, NULL, 0, &text, &err), 0);
    assert_int_equal(document_parse(buf_view(&text), "t", &d, &err), 0);
    assert_int_equal(d->expires_ms, NETWORK_NOW_MS + 90000);
    document_unref(d);
    buf_done(&text);
    assert_int_equal(chain_generate(&w, "rotate-db", NETWORK_NOW_MS, 0, NULL, 0, &text, &err), ERR_CHAIN);
    assert_int_equal(chain_generate(&w, "Unlock", NETWORK_NOW_MS, 0, NULL, 0, &text, &err), ERR_FORMAT);
    assert_int_equal(chain_generate(&w, "unlock-db", NETWORK_EXPIRES_MS, 0, NULL, 0, &text, &err), ERR_EXPIRED);
    n.policy->policy.stage_count = 1;
    assert_int_equal(chain_generate(&w, "unlock-db", NETWORK_NOW_MS, 0, NULL, 0, &text, &err), ERR_CHAIN);
    n.policy->policy.stage_count = 2;
    network_done(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_alone_refuses),
        cmocka_unit_test(what_the_policy_allows_passes),
        cmocka_unit_test(random_changes_agree_with_a_second_judgement),
        cmocka_unit_test(random_texts_agree_with_a_second_judgement),
        cmocka_unit_test(healthy_members_come_first),
        cmocka_unit_test(unusable_members_are_left_out),
        cmocka_unit_test(diversity_is_searched_for),
        cmocka_unit_test(a_node_is_given_to_the_stage_that_needs_it),
        cmocka_unit_test(lifetimes_and_operations_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
