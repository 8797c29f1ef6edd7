/* visit_test: stories of visits to one door. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/ledger/entry.h"
#include "tests/lib/visit_world.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct visit_world world;
static struct guest w1, w2;

static int open_world(void **state)
{
    (void)state;
    visit_world_open(&world, NULL);
    guest_init(&w1, &world, "w1");
    guest_init(&w2, &world, "w2");
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    guest_done(&w1);
    guest_done(&w2);
    visit_world_close(&world);
    world_syncs_to_fail = 0;
    return 0;
}

static bool same(const struct buf *a, const struct buf *b)
{
    return bytes_equal(buf_view(a), buf_view(b));
}

/* ---- the ordinary visit */

static void a_release(void **state)
{
    (void)state;
    guest_walk(&w1);
    assert_true(trace_is(&world, "[    0] n1 > w1 challenge device network\n"
                                 "[    0] n1 > w1 release entry 0 of 1\n"));
    assert_null(w1.visit);
    assert_int_equal(world.releases_asked, 1);
}

static void a_stranger_is_denied(void **state)
{
    (void)state;
    memset(w1.peer.key_hash, 9, HASH_LEN);
    w2.peer.address[12] = 10;
    guest_walk(&w1);
    guest_walk(&w2);
    assert_true(trace_is(&world, "[    0] n1 > w1 challenge device network\n"
                                 "[    0] n1 > w1 deny device\n"
                                 "[    0] n1 > w2 challenge device network\n"
                                 "[    0] n1 > w2 deny network\n"));
    assert_int_equal(world.releases_asked, 0);
}

static void documents_are_asked_for(void **state)
{
    (void)state;
    char *other = network_replace(world.chain_text, "operation: unlock-db", "operation: rotate-db");
    char hash[2 * HASH_LEN + 1];
    hex_encode(BYTES_OF(world.envelope->hash), hash);
    char *text = network_replace(other, hash, "1111111111111111111111111111111111111111111111111111111111111111");
    char *kept = world.chain_text;
    world.chain_text = text;
    guest_walk(&w1);
    world.chain_text = kept;
    free(other);
    free(text);
    assert_true(trace_is(&world, "[    0] n1 > w1 need envelope\n"));
    assert_null(w1.visit);
}

static void a_challenge_runs_out(void **state)
{
    (void)state;
    guest_begin(&w1);
    guest_await(&w1, 1);
    world_tick(&world.log, NODE_CHALLENGE_TTL_MS + 1);
    guest_attest(&w1);
    guest_await(&w1, 2);
    assert_true(trace_is(&world, "[    0] n1 > w1 challenge device network\n"
                                 "[30001] n1 > w1 deny nonce\n"));
}

static bool last_entry(struct message **ret)
{
    struct store_txn *t = NULL;
    struct bytes key, value;
    struct err err = {.code = 0};
    int rc = store_begin(world.log.store, false, &t, &err);
    if (rc == 0)
        rc = store_last(t, STORE_ENTRIES, &key, &value);
    if (rc == 0)
        rc = entry_parse(value, ret, &err);
    store_abort(t);
    return rc == 0;
}

static void a_denial_is_an_entry_whatever_was_asked(void **state)
{
    (void)state;
    struct message *m = NULL;
    w1.stage = UINT64_MAX;
    w1.slot = UINT64_MAX;
    guest_walk(&w1);
    assert_true(trace_is(&world, "[    0] n1 > w1 deny stage\n"));
    assert_true(last_entry(&m));
    assert_int_equal(m->entry.type, ENTRY_DENY);
    assert_int_equal(m->entry.code, err_wire(ERR_STAGE));
    assert_int_equal(m->entry.walk_id.len, 0); /* there was no session yet */
    message_free(m);
}

static void a_revoked_device_is_refused_where_none_is_asked_for(void **state)
{
    (void)state;
    close_world(NULL);
    visit_world_open(&world, "      network: {cidrs: [\"127.0.0.0/8\"]}\n");
    guest_init(&w1, &world, "w1");
    guest_init(&w2, &world, "w2");
    memset(w2.peer.key_hash, 9, HASH_LEN); /* not enrolled: the policy does not mind */
    visit_world_status(&world, "revocations:", "  - {kind: device, id: web-1}\n");
    guest_walk(&w1);
    guest_walk(&w2);
    assert_true(trace_is(&world, "[    0] n1 > w1 deny revoked\n"
                                 "[    0] n1 > w2 challenge network\n"
                                 "[    0] n1 > w2 release entry 1 of 2\n"));
}

static uint64_t record_count(void)
{
    struct store_txn *t = NULL;
    struct err err = {.code = 0};
    uint64_t count = 0;
    assert_int_equal(store_begin(world.log.store, false, &t, &err), 0);
    assert_int_equal(store_count(t, STORE_DENIALS, &count), 0);
    store_abort(t);
    return count;
}

static void denials_tick_now(void)
{
    denials_tick(world.node.denials);
    visit_world_block(&world); /* behind the sweep in the store thread's queue */
    visit_world_unblock(&world);
}

/* Records live for denial_days; the table is in order of time, so that looking for old ones costs nothing. */
static void explanations_have_a_lifetime(void **state)
{
    (void)state;
    memset(w1.peer.key_hash, 9, HASH_LEN);
    guest_walk(&w1);
    assert_int_equal(w1.denial_id_len, DENIAL_ID_LEN);
    world.log.now_ms += 1000;
    guest_walk(&w2); /* a release: no record */
    uint8_t first[DENIAL_ID_LEN];
    memcpy(first, w1.denial_id, sizeof(first));
    guest_walk(&w1);
    assert_true(memcmp(first, w1.denial_id, sizeof(first)) < 0);
    assert_int_equal(record_count(), 2);
    world.log.now_ms += 30ull * 86400000u - 500;
    denials_tick_now();
    assert_int_equal(record_count(), 1);
    world.log.now_ms += 1000;
    denials_tick_now();
    assert_int_equal(record_count(), 0);
}

static void the_oldest_explanation_makes_room(void **state)
{
    (void)state;
    struct store_txn *t = NULL;
    struct err err = {.code = 0};
    uint8_t id[DENIAL_ID_LEN] = {0};
    assert_int_equal(store_begin(world.log.store, true, &t, &err), 0);
    for (unsigned i = 0; i < DENIALS_MAX; i++) {
        id[4] = (uint8_t)(i >> 16);
        id[5] = (uint8_t)(i >> 8);
        id[6] = (uint8_t)i;
        assert_int_equal(store_put(t, STORE_DENIALS, BYTES_OF(id), bytes_str("x"), true, &err), 0);
    }
    assert_int_equal(store_commit(t, &err), 0);
    memset(w1.peer.key_hash, 9, HASH_LEN);
    guest_walk(&w1);
    assert_int_equal(record_count(), DENIALS_MAX);
    struct bytes value;
    assert_int_equal(store_begin(world.log.store, false, &t, &err), 0);
    id[4] = id[5] = id[6] = 0;
    assert_int_equal(store_get(t, STORE_DENIALS, BYTES_OF(id), &value), ERR_NOT_FOUND);
    assert_int_equal(store_get(t, STORE_DENIALS, BYTES(w1.denial_id, DENIAL_ID_LEN), &value), 0);
    store_abort(t);
}

/* ---- twins */

static void a_twin_gets_busy(void **state)
{
    (void)state;
    struct guest twin;
    guest_init(&twin, &world, "w1");
    world.token_holds = true;
    guest_begin(&w1);
    guest_begin(&twin);
    guest_await(&w1, 1);
    guest_await(&twin, 1);
    guest_attest(&w1);
    visit_world_asked(&world);
    guest_attest(&twin);
    guest_await(&twin, 2);
    visit_world_answer(&world);
    guest_await(&w1, 2);
    assert_int_equal(twin.last, MESSAGE_BUSY);
    assert_int_equal(w1.last, MESSAGE_RELEASE);
    assert_int_equal(guest_walk(&twin), MESSAGE_RELEASE); /* the same grant */
    assert_true(same(&twin.answer, &w1.answer) && same(&twin.body, &w1.body) && same(&twin.entry, &w1.entry));
    assert_int_equal(world.releases_asked, 1);
    guest_done(&twin);
}

/* ---- the connection is lost in each state; the workload comes back */

static void come_back(uint64_t entry)
{
    char line[128];
    visit_world_empty(&world);
    world.trace[0] = '\0';
    world.token_holds = false;
    assert_int_equal(guest_walk(&w1), MESSAGE_RELEASE);
    (void)snprintf(line, sizeof(line),
                   "[    0] n1 > w1 challenge device network\n[    0] n1 > w1 release entry %llu of ",
                   (unsigned long long)entry);
    assert_int_equal(strncmp(world.trace, line, strlen(line)), 0);
}

static void lost_while_judging(void **state)
{
    (void)state;
    guest_begin(&w1);
    guest_leave(&w1);
    come_back(0);
}

static void lost_while_challenged(void **state)
{
    (void)state;
    guest_begin(&w1);
    guest_await(&w1, 1);
    guest_leave(&w1);
    assert_null(world.node.visits);
    come_back(0);
}

static void lost_while_appraising(void **state)
{
    (void)state;
    guest_begin(&w1);
    guest_await(&w1, 1);
    guest_attest(&w1);
    guest_leave(&w1);
    come_back(0);
}

static void lost_while_looking(void **state)
{
    (void)state;
    visit_world_block(&world);
    guest_begin(&w1);
    guest_await(&w1, 1);
    guest_attest(&w1);
    for (int i = 0; i < 100; i++) /* its appraisal is done; the grant is looked for behind the block */
        uv_run(&world.log.loop, UV_RUN_NOWAIT);
    guest_leave(&w1);
    visit_world_unblock(&world);
    come_back(0);
}

static void lost_while_the_token_works(void **state)
{
    (void)state;
    world.token_holds = true;
    guest_begin(&w1);
    guest_await(&w1, 1);
    guest_attest(&w1);
    visit_world_asked(&world);
    guest_leave(&w1);
    visit_world_answer(&world);
    assert_null(world.node.visits); /* nothing was granted yet, so nothing is */
    come_back(0);
}

static void lost_while_the_entry_is_written(void **state)
{
    (void)state;
    world.token_holds = true;
    guest_begin(&w1);
    guest_await(&w1, 1);
    guest_attest(&w1);
    visit_world_asked(&world);
    visit_world_block(&world);
    visit_world_answer(&world);
    guest_leave(&w1);
    visit_world_unblock(&world);
    visit_world_empty(&world);
    come_back(0); /* reissued */
    assert_int_equal(world.releases_asked, 1);
    assert_int_equal(world.node.counters.reissues, 1);
}

static void lost_while_refused(void **state)
{
    (void)state;
    memset(w1.peer.key_hash, 9, HASH_LEN);
    guest_begin(&w1);
    guest_await(&w1, 1);
    visit_world_block(&world);
    guest_attest(&w1);
    while (world.node.counters.denials == 0)
        uv_run(&world.log.loop, UV_RUN_ONCE);
    guest_leave(&w1);
    visit_world_unblock(&world);
    memset(w1.peer.key_hash, 1, HASH_LEN);
    come_back(1); /* entry 0 is the denial */
}

/* ---- reissue */

static void reissued_byte_for_byte_three_times(void **state)
{
    (void)state;
    struct guest again;
    guest_init(&again, &world, "w1");
    guest_walk(&w1);
    for (unsigned i = 0; i < GRANT_REISSUES_MAX; i++) {
        assert_int_equal(guest_walk(&again), MESSAGE_RELEASE);
        assert_true(same(&again.answer, &w1.answer) && same(&again.body, &w1.body) && same(&again.entry, &w1.entry));
        assert_false(same(&again.receipt, &w1.receipt)); /* newer: it covers the REISSUE entry */
    }
    world.trace[0] = '\0';
    guest_walk(&again);
    assert_true(trace_is(&world, "[    0] n1 > w1 challenge device network\n"
                                 "[    0] n1 > w1 deny reissue\n"));
    assert_int_equal(world.releases_asked, 1);
    guest_done(&again);
}

static void restarted_after_an_answer(void **state)
{
    (void)state;
    guest_walk(&w1);
    visit_world_restart(&world);
    world.trace[0] = '\0';
    guest_walk(&w1);
    assert_true(trace_is(&world, "[  400] n1 > w1 challenge device network\n"
                                 "[  400] n1 > w1 release entry 0 of 2\n"));
    assert_int_equal(world.releases_asked, 1);
}

/* The child dies by SIGKILL when the log asks the token to sign: the entry is on the disk, nobody was answered. */
static void killed_between_commit_and_answer(void **state)
{
    (void)state;
    int status = 0;
    close_world(NULL);
    visit_world_prepare(&world, NULL);
    guest_init(&w1, &world, "w1");
    guest_init(&w2, &world, "w2");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        visit_world_start(&world);
        world.log.mode = TOKEN_KILLED;
        guest_walk(&w1);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    visit_world_start(&world);
    assert_int_equal(world.log.signed_at_ready, 1); /* what was committed is signed first */
    guest_walk(&w1);
    assert_true(trace_is(&world, "[    0] n1 > w1 challenge device network\n"
                                 "[    0] n1 > w1 release entry 0 of 2\n"));
    assert_int_equal(world.releases_asked, 0); /* the bytes that were stored before the crash */
    assert_int_equal(world.node.counters.reissues, 1);
}

static void reissue_is_judged_again(void **state)
{
    (void)state;
    guest_walk(&w1);
    visit_world_status(&world, "revocations:", "  - {kind: device, id: web-1}\n");
    world.trace[0] = '\0';
    guest_walk(&w1);
    assert_int_equal(w1.last, MESSAGE_DENY);
    assert_int_equal(w1.code, ERR_REVOKED);
}

static void each_entry_has_its_salt(void **state)
{
    (void)state;
    struct store_txn *t = NULL;
    struct err err = {.code = 0};
    uint64_t count = 0;
    guest_walk(&w1);
    guest_walk(&w1);
    assert_int_equal(store_begin(world.log.store, false, &t, &err), 0);
    assert_int_equal(store_count(t, STORE_SALTS, &count), 0);
    assert_int_equal(count, 2); /* GRANT, REISSUE */
    store_abort(t);
}

/* Of w1's session at this door. */
static void key_of_grant(uint8_t key[GRANT_KEY_LEN])
{
    struct sid_fields f = {.network = bytes_str(NETWORK_NAME)};
    uint8_t sid[HASH_LEN];
    ec_point_spki_hash(w1.session_key, f.eid);
    memcpy(f.client_key_hash, w1.peer.key_hash, HASH_LEN);
    memcpy(f.client_nonce, w1.nonce, NONCE_LEN);
    memcpy(f.chain_hash, world.chain->hash, HASH_LEN);
    context_sid(&f, sid);
    grant_key(sid, 1, 1, key);
}

static void rubbish_in_the_store_is_this_nodes_trouble(void **state)
{
    (void)state;
    struct store_txn *t = NULL;
    struct err err = {.code = 0};
    uint8_t key[GRANT_KEY_LEN];
    key_of_grant(key);
    assert_int_equal(store_begin(world.log.store, true, &t, &err), 0);
    assert_int_equal(store_put(t, STORE_GRANTS, BYTES_OF(key), bytes_str("rubbish"), true, &err), 0);
    assert_int_equal(store_commit(t, &err), 0);
    guest_walk(&w1);
    assert_int_equal(w1.last, MESSAGE_DENY);
    assert_int_equal(w1.code, ERR_STORAGE); /* the workload goes to another member */
}

static void other_links_before_are_denied(void **state)
{
    (void)state;
    struct grant g = {.prevhash = {5},
                      .not_after_ms = world.chain->expires_ms,
                      .link_body = bytes_str("body"),
                      .answer = bytes_str("answer")};
    struct store_txn *t = NULL;
    struct err err = {.code = 0};
    uint8_t key[GRANT_KEY_LEN];
    key_of_grant(key);
    assert_int_equal(store_begin(world.log.store, true, &t, &err), 0);
    assert_int_equal(grant_create(t, key, &g, &err), 0);
    assert_int_equal(store_commit(t, &err), 0);
    guest_walk(&w1);
    assert_int_equal(w1.code, ERR_REISSUE);
    assert_int_equal(w1.body.len, 0);
}

/* ---- revocation, halts, expiry against the hand-over */

static void hold_at_token(void)
{
    world.token_holds = true;
    guest_begin(&w1);
    guest_await(&w1, 1);
    guest_attest(&w1);
    visit_world_asked(&world);
}

static void refused_at_hand_over(int code)
{
    visit_world_answer(&world);
    guest_await(&w1, 2);
    assert_int_equal(w1.last, MESSAGE_DENY);
    assert_int_equal(w1.code, code);
    assert_int_equal(w1.answer.len, 0);
}

static void revoked_device_at_hand_over(void **state)
{
    (void)state;
    hold_at_token();
    visit_world_status(&world, "revocations:", "  - {kind: device, id: web-1}\n");
    refused_at_hand_over(ERR_REVOKED);
}

static void halted_at_hand_over(void **state)
{
    (void)state;
    hold_at_token();
    visit_world_status(&world, "halts:", "  - {network: halted}\n");
    refused_at_hand_over(ERR_HALTED);
}

static void unenrolled_at_hand_over(void **state)
{
    (void)state;
    char *half = network_replace(world.net.inventory_text, "\nversion: 1\n", "\nversion: 2\n");
    char *text = network_replace(half, "  - id: web-1\n", "  - id: web-3\n");
    char *key = network_replace(text, "0101010101010101010101010101010101010101010101010101010101010101",
                                "0505050505050505050505050505050505050505050505050505050505050505");
    hold_at_token();
    visit_world_offer(&world, key, KEY_BIT(KEY_INVENTORY));
    free(half);
    free(text);
    free(key);
    refused_at_hand_over(ERR_DEVICE);
}

static void policy_expires_before_hand_over(void **state)
{
    (void)state;
    hold_at_token();
    world.log.now_ms = world.chain->expires_ms;
    refused_at_hand_over(ERR_EXPIRED);
}

static void revoked_between_challenge_and_attest(void **state)
{
    (void)state;
    guest_begin(&w1);
    guest_await(&w1, 1);
    visit_world_status(&world, "revocations:", "  - {kind: device, id: web-1}\n");
    guest_attest(&w1);
    guest_await(&w1, 2);
    assert_int_equal(w1.code, ERR_REVOKED);
    assert_int_equal(world.releases_asked, 0); /* and no grant was made for nothing */
}

/* ---- quota */

static void open_with(const char *factors)
{
    guest_done(&w1);
    guest_done(&w2);
    visit_world_close(&world);
    visit_world_open(&world, factors);
    guest_init(&w1, &world, "w1");
    guest_init(&w2, &world, "w2");
}

static void another_session(struct guest *g)
{
    g->nonce[0]++;
}

/* What the operator is told of a denial's quota. */
static void explained(const struct guest *g, size_t leaf, const char *expected, const char *actual)
{
    struct store_txn *t = NULL;
    struct err err = {.code = 0};
    struct bytes record;
    struct message *m = NULL;
    assert_int_equal(store_begin(world.log.store, false, &t, &err), 0);
    assert_int_equal(denial_find(t, BYTES(g->denial_id, DENIAL_ID_LEN), &record), 0);
    assert_int_equal(message_unpack(MESSAGE_EXPLAIN, record, &m, &err), 0);
    assert_true(leaf < m->explain.factors.count);
    assert_true(bytes_is(m->explain.factors.at[leaf].name, "quota"));
    assert_int_equal(m->explain.factors.at[leaf].met, 0);
    assert_true(bytes_is(m->explain.factors.at[leaf].expected, expected));
    assert_true(bytes_is(m->explain.factors.at[leaf].actual, actual));
    message_free(m);
    store_abort(t);
}

static void a_quota_is_counted_and_renewed(void **state)
{
    (void)state;
    open_with("      all:\n"
              "        - device: enrolled\n"
              "        - quota: {count: 2, window_s: 300, per: device}\n");
    guest_walk(&w1);
    guest_walk(&w1); /* reissued: no second unit */
    another_session(&w1);
    guest_walk(&w1);
    another_session(&w1);
    unsigned asked = world.releases_asked;
    guest_walk(&w1);
    assert_int_equal(world.releases_asked, asked); /* the token was not bothered */
    assert_int_equal(w1.retry_after_ms, 300000 - NETWORK_NOW_MS % 300000);
    explained(&w1, 1, "at most 2 in 300 s per device", "used up until 2026-11-18T12:10:00Z");
    memset(w2.peer.key_hash, 4, HASH_LEN); /* web-2 has its own */
    guest_walk(&w2);
    visit_world_restart(&world);
    guest_walk(&w1); /* as used up as before */
    world.log.now_ms += 300000 - NETWORK_NOW_MS % 300000;
    guest_walk(&w1);
    assert_true(trace_is(&world, "[    0] n1 > w1 challenge device quota\n"
                                 "[    0] n1 > w1 release entry 0 of 1\n"
                                 "[    0] n1 > w1 challenge device quota\n"
                                 "[    0] n1 > w1 release entry 0 of 2\n"
                                 "[    0] n1 > w1 challenge device quota\n"
                                 "[    0] n1 > w1 release entry 2 of 3\n"
                                 "[    0] n1 > w1 challenge device quota\n"
                                 "[    0] n1 > w1 deny quota\n"
                                 "[    0] n1 > w2 challenge device quota\n"
                                 "[    0] n1 > w2 release entry 4 of 5\n"
                                 "[  400] n1 > w1 challenge device quota\n"
                                 "[  400] n1 > w1 deny quota\n"
                                 "[  400] n1 > w1 challenge device quota\n"
                                 "[  400] n1 > w1 release entry 6 of 7\n"));
}

/* Two sessions stand before the last unit: both passed the look, one gets it. */
static void the_last_unit_is_taken_once(void **state)
{
    (void)state;
    open_with("      quota: {count: 1, window_s: 60, per: policy}\n");
    world.token_holds = true;
    guest_begin(&w1);
    guest_begin(&w2);
    guest_await(&w1, 1);
    guest_await(&w2, 1);
    guest_attest(&w1);
    guest_attest(&w2);
    while (world.question_count < 2)
        uv_run(&world.log.loop, UV_RUN_ONCE);
    visit_world_answer(&world);
    guest_await(&w1, 2);
    guest_await(&w2, 2);
    const struct guest *loser = w1.last == MESSAGE_DENY ? &w1 : &w2, *winner = loser == &w1 ? &w2 : &w1;
    assert_int_equal(winner->last, MESSAGE_RELEASE);
    assert_int_equal(loser->last, MESSAGE_DENY);
    assert_int_equal(loser->code, ERR_QUOTA);
    assert_int_equal(loser->answer.len, 0);
}

static void two_quotas_and_a_secret(void **state)
{
    (void)state;
    open_with("      all:\n"
              "        - quota: {count: 5, window_s: 60, per: secret}\n"
              "        - quota: {count: 1, window_s: 3600, per: secret}\n");
    guest_walk(&w1);
    memset(w2.peer.key_hash, 4, HASH_LEN);
    guest_walk(&w2); /* another device, the same secret */
    assert_int_equal(w1.last, MESSAGE_RELEASE);
    assert_int_equal(w2.code, ERR_QUOTA);
    explained(&w2, 1, "at most 1 in 3600 s per secret", "used up until 2026-11-18T13:00:00Z");
}

static void a_grant_that_was_not_written_takes_no_unit(void **state)
{
    (void)state;
    open_with("      quota: {count: 1, window_s: 60, per: device}\n");
    world.token_holds = true;
    guest_begin(&w1);
    guest_await(&w1, 1);
    guest_attest(&w1);
    visit_world_asked(&world);
    world_syncs_to_fail = 1;
    visit_world_answer(&world);
    guest_await(&w1, 2);
    assert_int_equal(w1.code, ERR_STORAGE);
    world.token_holds = false;
    world_tick(&world.log, 1000);
    assert_int_equal(guest_walk(&w1), MESSAGE_RELEASE);
}

/* ---- token and store fail */

static void token_away_and_back(void **state)
{
    (void)state;
    world.token_away = true;
    guest_walk(&w1);
    assert_int_equal(w1.code, ERR_TOKEN);
    world.token_away = false;
    assert_int_equal(guest_walk(&w1), MESSAGE_RELEASE);
}

static void signer_away_then_reissue(void **state)
{
    (void)state;
    world.log.mode = TOKEN_AWAY;
    guest_begin(&w1);
    guest_await(&w1, 1);
    guest_attest(&w1);
    while (world.log.asked == 0) /* the entry is written */
        uv_run(&world.log.loop, UV_RUN_ONCE);
    for (uint64_t waited = 0; w1.answers < 2; waited += 100) {
        uv_run(&world.log.loop, UV_RUN_NOWAIT);
        world_tick(&world.log, waited <= LOG_SIGN_WAIT_MS ? 100 : 0); /* then the store thread may take its time */
    }
    assert_int_equal(w1.last, MESSAGE_DENY);
    assert_int_equal(w1.code, ERR_TOKEN);
    world.log.mode = TOKEN_SIGNS;
    world_tick(&world.log, 1000);
    assert_int_equal(guest_walk(&w1), MESSAGE_RELEASE);
    assert_int_equal(world.node.counters.reissues, 1);
    assert_int_equal(world.releases_asked, 1);
}

static void a_refusal_does_not_wait_for_the_token(void **state)
{
    (void)state;
    world.log.mode = TOKEN_HANGS;
    memset(w1.peer.key_hash, 9, HASH_LEN);
    guest_walk(&w1);
    assert_true(trace_is(&world, "[    0] n1 > w1 challenge device network\n"
                                 "[    0] n1 > w1 deny device\n"));
    world.log.mode = TOKEN_SIGNS;
    world_tick(&world.log, 1000);
}

static void store_fails(void **state)
{
    (void)state;
    hold_at_token();
    world_syncs_to_fail = 1;
    refused_at_hand_over(ERR_STORAGE);
    world_syncs_to_fail = 0;
    world.token_holds = false;
    world_tick(&world.log, 1000);
    assert_int_equal(guest_walk(&w1), MESSAGE_RELEASE);
}

#define STORY(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_release),
        STORY(a_stranger_is_denied),
        STORY(documents_are_asked_for),
        STORY(a_challenge_runs_out),
        STORY(a_denial_is_an_entry_whatever_was_asked),
        STORY(a_revoked_device_is_refused_where_none_is_asked_for),
        STORY(explanations_have_a_lifetime),
        STORY(the_oldest_explanation_makes_room),
        STORY(a_twin_gets_busy),
        STORY(lost_while_judging),
        STORY(lost_while_challenged),
        STORY(lost_while_appraising),
        STORY(lost_while_looking),
        STORY(lost_while_the_token_works),
        STORY(lost_while_the_entry_is_written),
        STORY(lost_while_refused),
        STORY(reissued_byte_for_byte_three_times),
        STORY(restarted_after_an_answer),
        STORY(killed_between_commit_and_answer),
        STORY(reissue_is_judged_again),
        STORY(each_entry_has_its_salt),
        STORY(rubbish_in_the_store_is_this_nodes_trouble),
        STORY(other_links_before_are_denied),
        STORY(revoked_device_at_hand_over),
        STORY(halted_at_hand_over),
        STORY(unenrolled_at_hand_over),
        STORY(policy_expires_before_hand_over),
        STORY(revoked_between_challenge_and_attest),
        STORY(a_quota_is_counted_and_renewed),
        STORY(the_last_unit_is_taken_once),
        STORY(two_quotas_and_a_secret),
        STORY(a_grant_that_was_not_written_takes_no_unit),
        STORY(token_away_and_back),
        STORY(signer_away_then_reissue),
        STORY(a_refusal_does_not_wait_for_the_token),
        STORY(store_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
