/* shelf: newer documents take the place of older ones, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/documents/chain.h"
#include "common/documents/shelf.h"
#include "tests/lib/network.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW NETWORK_NOW_MS
#define LATER_EXPIRY "expires: 2026-12-19T11:06:40Z"
#define EXPIRY "expires: 2026-11-19T11:06:40Z"

static struct network net;
static struct shelf *shelf;
static struct err err;
static enum shelf_outcome outcome;
static const struct document *got;

static int begin(void **state)
{
    (void)state;
    network_init(&net);
    assert_int_equal(shelf_new(NETWORK_NAME, net.root->hash, &shelf), 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    shelf_free(shelf);
    network_done(&net);
    return 0;
}

static bool elsewhere; /* the whole list of tests runs once more, with documents opened off the shelf's thread */

/* What cannot be opened, or need not be, is left to shelf_offer, whose word it is. */
static int offer_opened(struct bytes note, uint64_t now_ms, bool *ret_done)
{
    struct document_claim claim;
    struct shelf_judges judges;
    struct document *d = NULL;
    const struct document *policy = NULL;
    struct err why = {0};
    struct bytes text = note;
    uint8_t hash[HASH_LEN];
    int rc = ERR_FORMAT;
    *ret_done = false;
    if (document_peek(note, &claim, &why) != 0)
        return 0;
    if (claim.type != DOCUMENT_CHAIN)
        assert_int_equal(note_text(note, &text, &why), 0);
    sha256(text, hash);
    if (!shelf_judges(shelf, &claim, hash, &judges))
        return 0;
    if (shelf_judges_open(&judges, note, "t", &d, &policy, &why) == 0) {
        rc = shelf_offer_opened(shelf, d, &judges, policy, "t", now_ms, &outcome, &got, &err);
        *ret_done = true;
        document_unref(d);
    }
    shelf_judges_done(&judges);
    return rc;
}

static int offer_at(const char *text, unsigned keys, uint64_t now_ms)
{
    char *note = network_sign(&net, text, keys);
    bool done = false;
    got = NULL;
    err = (struct err){0};
    int rc = elsewhere ? offer_opened(bytes_str(note), now_ms, &done) : 0;
    if (elsewhere && rc != 0 && !done) /* it could not be opened: then the shelf says no as well */
        assert_int_not_equal(shelf_offer(shelf, bytes_str(note), "t", now_ms, &outcome, &got, &err), 0);
    if (!done)
        rc = shelf_offer(shelf, bytes_str(note), "t", now_ms, &outcome, &got, &err);
    assert_int_equal(rc != 0, got == NULL);
    free(note);
    return rc;
}

static int offer(const char *text, unsigned keys)
{
    return offer_at(text, keys, NOW);
}

/* The same text with one place changed. */
static int offer_changed(const char *text, const char *from, const char *to, unsigned keys)
{
    char *changed = network_replace(text, from, to);
    int rc = offer(changed, keys);
    free(changed);
    return rc;
}

static void accept_all(void)
{
    const struct {
        const char *text;
        unsigned keys;
    } rows[] = {{net.root_text, KEYS_ROOT},
                {net.roster_text, KEY_BIT(KEY_ROSTER)},
                {net.inventory_text, KEY_BIT(KEY_INVENTORY)},
                {net.policy_text, KEY_BIT(KEY_POLICY) | KEY_BIT(KEY_OWNER)},
                {net.envelope_text, KEY_BIT(KEY_OWNER)},
                {net.status_text, KEY_BIT(KEY_STATUS)},
                {net.chain_text, 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (offer(rows[i].text, rows[i].keys) != 0)
            fail_msg("row %zu: %s", i, err.text);
        assert_int_equal(outcome, SHELF_ACCEPTED);
    }
}

static void count_visit(void *arg, struct document *d)
{
    char *order = arg;
    order[strlen(order)] = document_type_name(d->type)[d->type == DOCUMENT_ROSTER ? 2 : 0];
}

static void documents_are_found(void **state)
{
    (void)state;
    char order[32] = "";
    accept_all();
    assert_int_equal(shelf_fresh(shelf, NOW, &err), 0);
    const struct document *all[] = {net.root,     net.roster, net.inventory, net.policy,
                                    net.envelope, net.status, net.chain};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct document *d = shelf_find(shelf, all[i]->type, bytes_str(all[i]->name));
        assert_non_null(d);
        assert_memory_equal(d->hash, all[i]->hash, HASH_LEN);
        assert_ptr_equal(shelf_find_hash(shelf, all[i]->type, all[i]->hash), d);
        assert_null(shelf_find_hash(shelf, all[i]->type, all[(i + 1) % 7]->hash));
    }
    assert_null(shelf_find(shelf, DOCUMENT_POLICY, BYTES_NONE));
    assert_null(shelf_find(shelf, DOCUMENT_APPROVAL, BYTES_NONE));
    assert_non_null(shelf_find_envelope(shelf, net.envelope->envelope.owner, net.envelope->envelope.id));
    assert_null(shelf_find_envelope(shelf, net.vkey[KEY_OTHER].public, net.envelope->envelope.id));
    shelf_each(shelf, count_visit, order);
    assert_string_equal(order, "rsipesc"); /* root, roSter, inventory, policy, envelope, status, chain */
    struct chain_world w = {shelf_find(shelf, DOCUMENT_POLICY, bytes_str("db-policy")),
                            shelf_find(shelf, DOCUMENT_ENVELOPE, bytes_str(net.envelope->name)),
                            shelf_find(shelf, DOCUMENT_ROSTER, BYTES_NONE),
                            shelf_find(shelf, DOCUMENT_STATUS, BYTES_NONE)};
    assert_int_equal(chain_check(&w, shelf_find(shelf, DOCUMENT_CHAIN, bytes_str("unlock-db")), NOW, &err), 0);
}

static void what_is_there_is_known(void **state)
{
    (void)state;
    accept_all();
    const char *texts[] = {net.root_text,   net.roster_text,   net.inventory_text,
                           net.policy_text, net.envelope_text, net.status_text};
    const unsigned keys[] = {KEYS_ROOT,           KEY_BIT(KEY_ROSTER), KEY_BIT(KEY_INVENTORY),
                             KEY_BIT(KEY_POLICY), KEY_BIT(KEY_OWNER),  KEY_BIT(KEY_STATUS)};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(offer(texts[i], keys[i]), 0);
        assert_int_equal(outcome, SHELF_KNOWN);
    }
    assert_int_equal(offer(net.chain_text, 0), 0);
    assert_int_equal(outcome, SHELF_KNOWN);
}

static void documents_handed_out_stay_valid(void **state)
{
    (void)state;
    accept_all();
    struct document *held = document_ref(shelf_find(shelf, DOCUMENT_ROSTER, BYTES_NONE));
    assert_int_equal(offer_changed(net.roster_text, "version: 1\n", "version: 2\n", KEY_BIT(KEY_ROSTER)), 0);
    assert_int_equal(shelf_find(shelf, DOCUMENT_ROSTER, BYTES_NONE)->version, 2);
    assert_int_equal(held->version, 1);
    assert_true(bytes_is(held->text, net.roster_text));
    document_unref(held);
}

static void the_first_root_is_pinned(void **state)
{
    (void)state;
    assert_int_equal(offer_changed(net.root_text, "version: 1\n", "version: 2\n", KEYS_ROOT), ERR_DOCUMENTS);
    assert_int_equal(offer(net.root_text, KEY_BIT(KEY_ROOT_A)), ERR_THRESHOLD);
    assert_int_equal(offer(net.roster_text, KEY_BIT(KEY_ROSTER)), ERR_DOCUMENTS);
    assert_int_equal(offer(net.policy_text, KEY_BIT(KEY_POLICY)), ERR_DOCUMENTS);
    assert_int_equal(offer(net.envelope_text, KEY_BIT(KEY_OWNER)), ERR_DOCUMENTS);
    assert_int_equal(shelf_fresh(shelf, NOW, &err), ERR_STATUS);
    assert_int_equal(offer(net.root_text, KEYS_ROOT), 0);
    /* without a pin the first root offered is taken */
    struct shelf *open = NULL;
    assert_int_equal(shelf_new(NETWORK_NAME, NULL, &open), 0);
    char *note = network_sign(&net, net.root_text, KEYS_ROOT);
    assert_int_equal(shelf_offer(open, bytes_str(note), "t", NOW, &outcome, &got, &err), 0);
    free(note);
    shelf_free(open);
}

static void other_networks_are_refused(void **state)
{
    (void)state;
    accept_all();
    assert_int_equal(
        offer_changed(net.roster_text, "network: example.test", "network: other.test", KEY_BIT(KEY_ROSTER)),
        ERR_CONFIG);
    assert_int_equal(offer_changed(net.chain_text, "network: example.test", "network: other.test", 0), ERR_CONFIG);
}

static void versions_only_grow(void **state)
{
    (void)state;
    accept_all();
    struct {
        const char *text;
        enum document_type type;
        unsigned keys;
    } rows[] = {{net.roster_text, DOCUMENT_ROSTER, KEY_BIT(KEY_ROSTER)},
                {net.inventory_text, DOCUMENT_INVENTORY, KEY_BIT(KEY_INVENTORY)},
                {net.status_text, DOCUMENT_STATUS, KEY_BIT(KEY_STATUS)},
                {net.root_text, DOCUMENT_ROOT, KEYS_ROOT}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(offer_changed(rows[i].text, "\nversion: 1\n", "\nversion: 7\n", rows[i].keys), 0);
        assert_int_equal(outcome, SHELF_ACCEPTED);
        assert_int_equal(offer_changed(rows[i].text, "\nversion: 1\n", "\nversion: 6\n", rows[i].keys), ERR_STALE);
        assert_int_equal(shelf_find(shelf, rows[i].type, BYTES_NONE)->version, 7);
        if (rows[i].type != DOCUMENT_ROOT)
            assert_int_equal(offer(rows[i].text, rows[i].keys), ERR_STALE);
        /* another text of the same version: the first one stays */
        char *seven = network_replace(rows[i].text, "\nversion: 1\n", "\nversion: 7\n");
        assert_int_equal(offer_changed(seven, EXPIRY, LATER_EXPIRY, rows[i].keys), ERR_EQUIVOCATION);
        assert_int_equal(offer_changed(seven, EXPIRY, LATER_EXPIRY, KEY_BIT(KEY_OTHER)),
                         ERR_THRESHOLD); /* no false alarms */
        assert_int_equal(shelf_find(shelf, rows[i].type, BYTES_NONE)->expires_ms, NETWORK_EXPIRES_MS);
        free(seven);
    }
    /* old roots stay to be handed on, and are known */
    assert_int_equal(offer(net.root_text, KEYS_ROOT), 0);
    assert_int_equal(outcome, SHELF_KNOWN);
    char order[32] = "";
    shelf_each(shelf, count_visit, order);
    assert_string_equal(order, "rrsipesc");
}

static void time_is_judged_on_offer(void **state)
{
    (void)state;
    assert_int_equal(offer(net.root_text, KEYS_ROOT), 0);
    const unsigned key = KEY_BIT(KEY_STATUS);
    assert_int_equal(offer_at(net.status_text, key, NETWORK_EXPIRES_MS), ERR_EXPIRED);
    assert_int_equal(offer_at(net.status_text, key, NETWORK_ISSUED_MS - SHELF_SKEW_MS - 1), ERR_EXPIRED);
    assert_int_equal(offer_at(net.status_text, key, NETWORK_ISSUED_MS - SHELF_SKEW_MS), 0);
    assert_int_equal(offer_at(net.roster_text, KEY_BIT(KEY_ROSTER), NETWORK_EXPIRES_MS), ERR_EXPIRED);
    assert_int_equal(offer_at(net.chain_text, 0, net.chain->expires_ms), ERR_EXPIRED);
}

static void an_expired_status_stops_everything(void **state)
{
    (void)state;
    accept_all();
    assert_int_equal(shelf_fresh(shelf, NETWORK_EXPIRES_MS - 1, &err), 0);
    assert_int_equal(shelf_fresh(shelf, NETWORK_EXPIRES_MS, &err), ERR_STATUS);
    char *longer = network_replace(net.status_text, EXPIRY, LATER_EXPIRY);
    assert_int_equal(offer_changed(longer, "\nversion: 1\n", "\nversion: 2\n", KEY_BIT(KEY_STATUS)), 0);
    assert_int_equal(shelf_fresh(shelf, NETWORK_EXPIRES_MS, &err), ERR_EXPIRED); /* root, roster, inventory */
    assert_string_equal(err.text, "the root document, version 1, has expired; issue a new one");
    free(longer);
}

static void held_documents_must_not_be_older_than_the_status_says(void **state)
{
    (void)state;
    accept_all();
    char hash[2 * HASH_LEN + 1], from[200], to[200];
    const struct document *all[] = {net.root, net.roster, net.inventory};
    for (size_t i = 0; i < 3; i++) {
        hex_encode(BYTES_OF(all[i]->hash), hash);
        (void)snprintf(from, sizeof(from), "version: 1\n    hash: %s", hash);
        (void)snprintf(to, sizeof(to), "version: 2\n    hash: %s", hash);
        struct shelf *mine = shelf;
        assert_int_equal(shelf_new(NETWORK_NAME, net.root->hash, &shelf), 0);
        accept_all();
        char *two = network_replace(net.status_text, "\nversion: 1\n", "\nversion: 2\n");
        assert_int_equal(offer_changed(two, from, to, KEY_BIT(KEY_STATUS)), 0);
        assert_int_equal(shelf_fresh(shelf, NOW, &err), ERR_STALE);
        free(two);
        two = network_replace(net.status_text, "\nversion: 1\n", "\nversion: 3\n");
        to[8] = '1'; /* the same version, another text */
        (void)snprintf(to, sizeof(to), "version: 1\n    hash: %.63s%c", hash, hash[63] == '0' ? '1' : '0');
        assert_int_equal(offer_changed(two, from, to, KEY_BIT(KEY_STATUS)), 0);
        assert_int_equal(shelf_fresh(shelf, NOW, &err), ERR_STALE);
        free(two);
        shelf_free(shelf);
        shelf = mine;
    }
    /* newer than the status says is fine */
    assert_int_equal(offer_changed(net.roster_text, "\nversion: 1\n", "\nversion: 2\n", KEY_BIT(KEY_ROSTER)), 0);
    assert_int_equal(shelf_fresh(shelf, NOW, &err), 0);
}

static void revocations_and_halts_are_sticky(void **state)
{
    (void)state;
    accept_all();
    char *two = network_replace(net.status_text, "\nversion: 1\n", "\nversion: 2\n");
    const unsigned key = KEY_BIT(KEY_STATUS);
    static const struct {
        const char *from, *to, *text;
    } rows[] = {
        {"  - kind: node\n    id: n9\n", "", "t: drops the revocation of node n9: only with"},
        {"    id: n9\n", "    id: n10\n", "t: drops the revocation of node n9: only with"},
        {"  - kind: device\n    id: web-9\n", "  - kind: node\n    id: web-9\n",
         "t: drops the revocation of device web-9"},
        {"    hash: 7777", "    hash: 7778", "t: drops the revocation of chain 7777"},
        {"  - node: n8\n", "", "t: drops the halt of node n8"},
        {"  - policy: old-policy\n", "  - node: old-policy\n", "t: drops the halt of policy old-policy"},
        {"least_generation: 2", "least_generation: 1", "t: takes back the withdrawal of envelope 0000"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(offer_changed(two, rows[i].from, rows[i].to, key), ERR_THRESHOLD);
        if (strncmp(err.text, rows[i].text, strlen(rows[i].text)) != 0)
            fail_msg("%s", err.text);
        assert_int_equal(offer_changed(two, rows[i].from, rows[i].to, key | KEY_BIT(KEY_ROOT_A)), ERR_THRESHOLD);
        assert_int_equal(shelf_find(shelf, DOCUMENT_STATUS, BYTES_NONE)->version, 1);
    }
    /* adding is the status role's own business */
    assert_int_equal(offer_changed(two, "halts:\n", "halts:\n  - network: halted\n", key), 0);
    char *three = network_replace(net.status_text, "\nversion: 1\n", "\nversion: 3\n");
    assert_int_equal(offer(three, key), ERR_THRESHOLD);
    assert_string_equal(err.text,
                        "t: drops the halt of the network: only with the signatures of the root role's threshold");
    /* the root threshold may drop, with the status role's signature */
    assert_int_equal(offer(three, KEYS_ROOT), ERR_THRESHOLD);
    assert_int_equal(offer(three, key | KEYS_ROOT), 0);
    assert_int_equal(outcome, SHELF_ACCEPTED);
    free(two);
    free(three);
}

/* ---- root rotation */

static char *root_two(enum role role, enum network_key key)
{
    struct document d = *net.root;
    d.version = 2;
    d.root.role[role] = (struct role_keys){1, &net.vkey[key], 1};
    return network_write(&d);
}

static void new_keys_of_a_role_reset_its_floor(void **state)
{
    (void)state;
    accept_all();
    /* a stolen roster key has put the version out of reach */
    assert_int_equal(
        offer_changed(net.roster_text, "\nversion: 1\n", "\nversion: 18446744073709551615\n", KEY_BIT(KEY_ROSTER)), 0);
    assert_int_equal(offer_changed(net.roster_text, "\nversion: 1\n", "\nversion: 2\n", KEY_BIT(KEY_ROSTER)),
                     ERR_STALE);
    char *root = root_two(ROLE_ROSTER, KEY_OTHER);
    assert_int_equal(offer(root, KEYS_ROOT), 0);
    assert_null(shelf_find(shelf, DOCUMENT_ROSTER, BYTES_NONE));
    assert_int_equal(shelf_fresh(shelf, NOW, &err), ERR_DOCUMENTS);
    assert_int_equal(offer_changed(net.roster_text, "\nversion: 1\n", "\nversion: 2\n", KEY_BIT(KEY_ROSTER)),
                     ERR_THRESHOLD);
    assert_int_equal(offer_changed(net.roster_text, "\nversion: 1\n", "\nversion: 2\n", KEY_BIT(KEY_OTHER)), 0);
    assert_int_equal(shelf_find(shelf, DOCUMENT_ROSTER, BYTES_NONE)->version, 2);
    /* the other roles' documents stay */
    assert_non_null(shelf_find(shelf, DOCUMENT_INVENTORY, BYTES_NONE));
    assert_non_null(shelf_find(shelf, DOCUMENT_POLICY, bytes_str("db-policy")));
    free(root);
}

static void new_status_keys_do_not_forget_revocations(void **state)
{
    (void)state;
    accept_all();
    char *root = root_two(ROLE_STATUS, KEY_OTHER);
    assert_int_equal(offer(root, KEYS_ROOT), 0);
    assert_null(shelf_find(shelf, DOCUMENT_STATUS, BYTES_NONE));
    assert_int_equal(shelf_fresh(shelf, NOW, &err), ERR_STATUS);
    assert_int_equal(offer_changed(net.status_text, "  - node: n8\n", "", KEY_BIT(KEY_OTHER)), ERR_THRESHOLD);
    assert_int_equal(offer(net.status_text, KEY_BIT(KEY_OTHER)), 0); /* version 1 again: the floor is gone */
    free(root);
}

static void new_policy_keys_drop_policies(void **state)
{
    (void)state;
    accept_all();
    char *root = root_two(ROLE_POLICY, KEY_OTHER);
    assert_int_equal(offer(root, KEYS_ROOT), 0);
    assert_null(shelf_find(shelf, DOCUMENT_POLICY, bytes_str("db-policy")));
    assert_int_equal(offer(net.policy_text, KEY_BIT(KEY_OTHER)), 0);
    free(root);
}

static void roots_follow_one_another(void **state)
{
    (void)state;
    accept_all();
    char *two = root_two(ROLE_ROOT, KEY_OTHER);
    assert_int_equal(offer(two, KEY_BIT(KEY_OTHER)), ERR_THRESHOLD);
    assert_int_equal(offer(two, KEYS_ROOT), ERR_THRESHOLD);
    assert_int_equal(offer(two, KEYS_ROOT | KEY_BIT(KEY_OTHER)), 0);
    char *three = network_replace(two, "\nversion: 2\n", "\nversion: 3\n");
    assert_int_equal(offer(three, KEYS_ROOT), ERR_THRESHOLD); /* the holders of root 1 are out */
    assert_int_equal(offer(three, KEY_BIT(KEY_OTHER)), 0);
    /* another version 2, rightly signed, is seen */
    assert_int_equal(offer_changed(two, EXPIRY, LATER_EXPIRY, KEYS_ROOT | KEY_BIT(KEY_OTHER)), ERR_STALE);
    assert_int_equal(offer_changed(three, EXPIRY, LATER_EXPIRY, KEY_BIT(KEY_OTHER)), ERR_EQUIVOCATION);
    assert_int_equal(offer_changed(three, EXPIRY, LATER_EXPIRY, KEYS_ROOT), ERR_THRESHOLD);
    /* who may have signed another version 4 is what root 3 says, not what the first version 4 says */
    struct document d = *net.root;
    d.version = 4;
    d.root.role[ROLE_ROOT] = (struct role_keys){1, &net.vkey[KEY_STATUS], 1};
    char *four = network_write(&d);
    d.root.role[ROLE_ROOT] = (struct role_keys){1, &net.vkey[KEY_INVENTORY], 1};
    char *other = network_write(&d);
    assert_int_equal(offer(four, KEY_BIT(KEY_OTHER) | KEY_BIT(KEY_STATUS)), 0);
    assert_int_equal(offer(other, KEY_BIT(KEY_STATUS) | KEY_BIT(KEY_INVENTORY)), ERR_THRESHOLD);
    assert_int_equal(offer(other, KEY_BIT(KEY_OTHER) | KEY_BIT(KEY_INVENTORY)), ERR_EQUIVOCATION);
    free(four);
    free(other);
    free(two);
    free(three);
}

/* ---- inventory */

static void device_ids_are_never_taken_over(void **state)
{
    (void)state;
    accept_all();
    char *two = network_replace(net.inventory_text, "\nversion: 1\n", "\nversion: 2\n");
    const unsigned key = KEY_BIT(KEY_INVENTORY);
    assert_int_equal(offer_changed(two, "    ek: 03", "    ek: 13", key), ERR_EQUIVOCATION);
    assert_int_equal(offer_changed(two, "    ak: 02", "    ak: 12", key), ERR_EQUIVOCATION);
    assert_int_equal(offer_changed(two, "    chip: 0708", "    chip: 0709", key), ERR_EQUIVOCATION);
    assert_int_equal(offer_changed(two, "    key: 04", "    key: 14", key), ERR_EQUIVOCATION); /* it has nothing else */
    assert_string_equal(
        err.text,
        "t: device web-2 is another device than in version 1; an id is never taken over, enrol it under a new one");
    assert_int_equal(offer_changed(two, "    key: 01", "    key: 11", key),
                     0); /* a new certificate for the same hardware */
    char *three = network_replace(net.inventory_text, "\nversion: 1\n", "\nversion: 3\n");
    assert_int_equal(offer_changed(three, "id: web-2", "id: web-3", key), 0);
    free(two);
    free(three);
}

/* ---- policies, envelopes, chains */

static void policies_stand_beside_one_another(void **state)
{
    (void)state;
    accept_all();
    const unsigned key = KEY_BIT(KEY_POLICY);
    assert_int_equal(offer_changed(net.policy_text, EXPIRY, LATER_EXPIRY, key), ERR_EQUIVOCATION);
    assert_int_equal(offer_changed(net.policy_text, "\nversion: 1\n", "\nversion: 3\n", key), 0);
    assert_int_equal(shelf_find(shelf, DOCUMENT_POLICY, bytes_str("db-policy"))->version, 3);
    assert_non_null(shelf_find_hash(shelf, DOCUMENT_POLICY, net.policy->hash)); /* the envelope names it */
    assert_int_equal(offer_changed(net.policy_text, "\nversion: 1\n", "\nversion: 2\n", key), ERR_STALE);
    assert_int_equal(offer_changed(net.policy_text, "name: db-policy", "name: web-policy", key), 0);
    assert_int_equal(offer_changed(net.policy_text, "name: db-policy", "name: web-policy", KEY_BIT(KEY_OTHER)),
                     ERR_THRESHOLD);
}

static void an_older_policy_is_taken_when_it_is_named(void **state)
{
    (void)state;
    const unsigned key = KEY_BIT(KEY_POLICY);
    assert_int_equal(offer(net.root_text, KEYS_ROOT), 0);
    assert_int_equal(offer_changed(net.policy_text, "\nversion: 1\n", "\nversion: 3\n", key), 0);
    assert_int_equal(offer(net.policy_text, key), ERR_STALE);
    assert_int_equal(offer(net.status_text, KEY_BIT(KEY_STATUS)), 0); /* names version 1 */
    assert_int_equal(offer(net.policy_text, key), 0);
    assert_int_equal(outcome, SHELF_ACCEPTED);
}

static void owners_may_sign_a_policy_later(void **state)
{
    (void)state;
    const unsigned key = KEY_BIT(KEY_POLICY), owner = KEY_BIT(KEY_OWNER);
    assert_int_equal(offer(net.root_text, KEYS_ROOT), 0);
    assert_int_equal(offer(net.policy_text, key), 0);
    assert_false(got->policy.owner_signed[0]);
    assert_int_equal(offer(net.policy_text, key | KEY_BIT(KEY_OTHER)), 0);
    assert_int_equal(outcome, SHELF_KNOWN);
    assert_int_equal(offer(net.policy_text, owner), ERR_THRESHOLD);
    assert_int_equal(offer(net.policy_text, key | owner), 0);
    assert_int_equal(outcome, SHELF_ACCEPTED);
    assert_true(shelf_find(shelf, DOCUMENT_POLICY, bytes_str("db-policy"))->policy.owner_signed[0]);
    assert_int_equal(offer(net.policy_text, key), 0); /* and is not forgotten again */
    assert_int_equal(outcome, SHELF_KNOWN);
    assert_true(shelf_find(shelf, DOCUMENT_POLICY, bytes_str("db-policy"))->policy.owner_signed[0]);
}

static void generations_stand_beside_one_another(void **state)
{
    (void)state;
    accept_all();
    const unsigned key = KEY_BIT(KEY_OWNER);
    assert_int_equal(offer_changed(net.envelope_text, "generation: 1\n", "generation: 2\n", key), 0);
    assert_int_equal(shelf_find(shelf, DOCUMENT_ENVELOPE, bytes_str(net.envelope->name))->version, 2);
    assert_non_null(shelf_find_hash(shelf, DOCUMENT_ENVELOPE, net.envelope->hash));
    assert_int_equal(offer_changed(net.envelope_text, EXPIRY, LATER_EXPIRY, key), ERR_EQUIVOCATION);
    assert_int_equal(offer_changed(net.envelope_text, "generation: 1\n", "generation: 3\n", KEY_BIT(KEY_OTHER)),
                     ERR_SIGNATURE);
    assert_int_equal(offer_changed(net.envelope_text, "policy: db-policy\n", "policy: web-policy\n", key),
                     ERR_DOCUMENTS);
}

static void withdrawn_generations_are_refused(void **state)
{
    (void)state;
    accept_all();
    char hex[2 * ED25519_PUBLIC_LEN + 1], row[300];
    hex_encode(BYTES_OF(net.envelope->envelope.owner), hex);
    (void)snprintf(row, sizeof(row), "withdrawn:\n  - owner: %s\n    envelope: %s\n    least_generation: 3\n", hex,
                   net.envelope->name);
    char *two = network_replace(net.status_text, "\nversion: 1\n", "\nversion: 2\n");
    assert_int_equal(offer_changed(two, "withdrawn:\n", row, KEY_BIT(KEY_STATUS)), 0);
    assert_int_equal(offer_changed(net.envelope_text, "generation: 1\n", "generation: 2\n", KEY_BIT(KEY_OWNER)),
                     ERR_STALE);
    assert_int_equal(offer_changed(net.envelope_text, "generation: 1\n", "generation: 3\n", KEY_BIT(KEY_OWNER)), 0);
    free(two);
}

static void rows_are_bounded(void **state)
{
    (void)state;
    accept_all();
    char to[64];
    for (unsigned i = 1; i < SHELF_CHAINS_MAX; i++) {
        (void)snprintf(to, sizeof(to), "operation: op-%u\n", i);
        assert_int_equal(offer_changed(net.chain_text, "operation: unlock-db\n", to, 0), 0);
    }
    assert_int_equal(offer_changed(net.chain_text, "operation: unlock-db\n", "operation: late\n", 0), ERR_FULL);
    assert_non_null(shelf_find(shelf, DOCUMENT_CHAIN, bytes_str("unlock-db")));
    /* what has expired makes room */
    char *late = network_replace(net.chain_text, "not_after: 2026-11-18T12:16:40Z", "not_after: 2026-11-18T13:16:40Z");
    assert_int_equal(offer_at(late, 0, net.chain->expires_ms), 0);
    assert_int_equal(shelf_find(shelf, DOCUMENT_CHAIN, bytes_str("unlock-db"))->expires_ms,
                     net.chain->expires_ms + 3600000);
    free(late);
}

static void policies_that_live_make_no_room(void **state)
{
    (void)state;
    accept_all();
    char to[64];
    for (unsigned i = 1; i < SHELF_POLICIES_MAX; i++) {
        (void)snprintf(to, sizeof(to), "name: policy-%u\n", i);
        assert_int_equal(offer_changed(net.policy_text, "name: db-policy\n", to, KEY_BIT(KEY_POLICY)), 0);
    }
    assert_int_equal(offer_changed(net.policy_text, "name: db-policy\n", "name: late\n", KEY_BIT(KEY_POLICY)),
                     ERR_FULL);
    assert_non_null(shelf_find_hash(shelf, DOCUMENT_POLICY, net.policy->hash));
    /* a superseded version that nobody names does */
    assert_int_equal(offer_changed(net.policy_text, "name: db-policy\nversion: 1\n", "name: policy-7\nversion: 2\n",
                                   KEY_BIT(KEY_POLICY)),
                     ERR_FULL);
    shelf_free(shelf);
    assert_int_equal(shelf_new(NETWORK_NAME, net.root->hash, &shelf), 0);
    accept_all();
    for (unsigned i = 2; i <= SHELF_POLICIES_MAX + 8; i++) {
        (void)snprintf(to, sizeof(to), "name: web-policy\nversion: %u\n", i);
        assert_int_equal(offer_changed(net.policy_text, "name: db-policy\nversion: 1\n", to, KEY_BIT(KEY_POLICY)), 0);
    }
    assert_int_equal(shelf_find(shelf, DOCUMENT_POLICY, bytes_str("web-policy"))->version, SHELF_POLICIES_MAX + 8);
    assert_non_null(shelf_find_hash(shelf, DOCUMENT_POLICY, net.policy->hash));
}

/* ---- after a restart */

struct saved {
    char *notes[16];
    size_t count;
};

static void save(void *arg, struct document *d)
{
    struct saved *s = arg;
    s->notes[s->count] = calloc(1, d->note.len + 1);
    memcpy(s->notes[s->count++], d->note.p, d->note.len);
}

static void floors_survive_a_restart_after_expiry(void **state)
{
    (void)state;
    struct saved s = {.count = 0};
    accept_all();
    assert_int_equal(offer_changed(net.status_text, "\nversion: 1\n", "\nversion: 9\n", KEY_BIT(KEY_STATUS)), 0);
    shelf_each(shelf, save, &s);
    shelf_free(shelf);
    assert_int_equal(shelf_new(NETWORK_NAME, net.root->hash, &shelf), 0);
    for (size_t i = 0; i < s.count; i++) {
        assert_int_equal(shelf_restore(shelf, bytes_str(s.notes[i]), "store", &outcome, &got, &err), 0);
        assert_int_equal(outcome, SHELF_ACCEPTED);
        free(s.notes[i]);
    }
    /* two days later: an older status that lives longer, or a newer one without the revocation, must not get in */
    const uint64_t later = NETWORK_EXPIRES_MS + 86400000;
    assert_int_equal(shelf_fresh(shelf, later, &err), ERR_STATUS);
    char *longer = network_replace(net.status_text, EXPIRY, LATER_EXPIRY);
    char *eight = network_replace(longer, "\nversion: 1\n", "\nversion: 8\n");
    char *ten = network_replace(longer, "\nversion: 1\n", "\nversion: 10\n");
    char *dropped = network_replace(ten, "  - node: n8\n", "");
    assert_int_equal(offer_at(eight, KEY_BIT(KEY_STATUS), later), ERR_STALE);
    assert_int_equal(offer_at(dropped, KEY_BIT(KEY_STATUS), later), ERR_THRESHOLD);
    assert_int_equal(offer_at(ten, KEY_BIT(KEY_STATUS), later), 0);
    free(longer);
    free(eight);
    free(ten);
    free(dropped);
}

static void nonsense_changes_nothing(void **state)
{
    (void)state;
    accept_all();
    const char *notes[] = {"", "\n", "x", "enfilade: root/v1\n", "enfilade: approval/v1\nnetwork: example.test\n\n"};
    for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
        assert_int_not_equal(shelf_offer(shelf, bytes_str(notes[i]), "t", NOW, &outcome, &got, &err), 0);
    char *note = network_sign(&net, net.status_text, KEY_BIT(KEY_STATUS));
    uint64_t seed = 1;
    for (unsigned i = 0; i < 2000; i++) {
        char *bad = strdup(note);
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        bad[(seed >> 33) % strlen(bad)] ^= (char)(1 + (seed >> 20) % 255);
        if (shelf_offer(shelf, bytes_str(bad), "t", NOW, &outcome, &got, &err) == 0)
            assert_int_equal(outcome, SHELF_KNOWN);
        free(bad);
    }
    assert_memory_equal(shelf_find(shelf, DOCUMENT_STATUS, BYTES_NONE)->hash, net.status->hash, HASH_LEN);
    free(note);
}

int main(void)
{
#define STORY(name_) cmocka_unit_test_setup_teardown(name_, begin, end)
    const struct CMUnitTest tests[] = {
        STORY(documents_are_found),
        STORY(what_is_there_is_known),
        STORY(documents_handed_out_stay_valid),
        STORY(the_first_root_is_pinned),
        STORY(other_networks_are_refused),
        STORY(versions_only_grow),
        STORY(time_is_judged_on_offer),
        STORY(an_expired_status_stops_everything),
        STORY(held_documents_must_not_be_older_than_the_status_says),
        STORY(revocations_and_halts_are_sticky),
        STORY(new_keys_of_a_role_reset_its_floor),
        STORY(new_status_keys_do_not_forget_revocations),
        STORY(new_policy_keys_drop_policies),
        STORY(roots_follow_one_another),
        STORY(device_ids_are_never_taken_over),
        STORY(policies_stand_beside_one_another),
        STORY(an_older_policy_is_taken_when_it_is_named),
        STORY(owners_may_sign_a_policy_later),
        STORY(generations_stand_beside_one_another),
        STORY(withdrawn_generations_are_refused),
        STORY(rows_are_bounded),
        STORY(policies_that_live_make_no_room),
        STORY(floors_survive_a_restart_after_expiry),
        STORY(nonsense_changes_nothing),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    elsewhere = true;
    return failed + cmocka_run_group_tests_name("opened elsewhere", tests, NULL, NULL);
}
