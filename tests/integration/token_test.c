/* token: enfilade-tokend with a real SoftHSM: releases that software opens, every refusal, planted keys, deaths, the
 * PIN. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/yaml.h"
#include "common/ledger/checkpoint.h"
#include "common/net/identity.h"
#include "node/token/ask.h"
#include "node/token/pkcs11.h"
#include "proto/frame.h"
#include "tests/lib/token_world.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED false
#endif

static const char *program;
static struct token_world world;

/* ---- a plain, blocking client */

static int dial(const char *suffix)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s%s", world.socket, suffix);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 20};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static struct message *call(int fd, struct message *m)
{
    static uint8_t record[RECORD_MAX];
    struct buf out;
    struct err err = {0};
    struct message *reply = NULL;
    buf_init(&out, RECORD_MAX);
    if (record_pack(m, &out, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(send(fd, out.p, out.len, MSG_NOSIGNAL), out.len);
    buf_done(&out);
    ssize_t n = recv(fd, record, sizeof(record), 0);
    assert_true(n > 0);
    if (record_unpack(BYTES(record, (size_t)n), &reply, &err) != 0)
        fail_msg("%s", err.text);
    return reply;
}

static void assert_code(struct message *reply, int code)
{
    if (reply->type != MESSAGE_TOKEN_FAILURE)
        fail_msg("%s instead of a failure", message_name(reply->type));
    if (err_from_wire((unsigned)reply->token_failure.code) != code)
        fail_msg("code %llu: %.*s", (unsigned long long)reply->token_failure.code, (int)reply->token_failure.text.len,
                 (const char *)reply->token_failure.text.p);
    message_free(reply);
}

/* ---- the token folder: nothing that tokend does may write into it (SoftHSM rewrites token.object at every login) */

static uint8_t folder_hash[HASH_LEN];
static unsigned folder_files, folder_copies;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *where)
{
    struct buf data;
    struct err err = {0};
    uint8_t hash[HASH_LEN];
    (void)st;
    folder_copies += strstr(path + where->base, ".copy-") != NULL;
    if (type != FTW_F || strstr(path, "/tokens/") == NULL || strstr(path, ".copy-") != NULL)
        return 0;
    if (file_read(path, 65536, &data, &err) != 0)
        fail_msg("%s", err.text);
    struct th *t = th_begin("file");
    th_add_str(t, path);
    th_add(t, buf_view(&data));
    th_finish(t, hash);
    buf_done(&data);
    folder_files++;
    for (size_t i = 0; i < HASH_LEN; i++) /* in any order */
        folder_hash[i] ^= hash[i];
    return 0;
}

static void hash_folder(uint8_t ret[HASH_LEN])
{
    memset(folder_hash, 0, sizeof(folder_hash));
    folder_files = folder_copies = 0;
    assert_int_equal(nftw(world.folder, add_file, 16, FTW_PHYS), 0);
    assert_true(folder_files >= 14); /* six key pairs, two tokens */
    memcpy(ret, folder_hash, HASH_LEN);
}

/* ---- start and simple requests */

static int start_world(void **state)
{
    (void)state;
    token_world_new(&world, program, 2);
    token_world_init(&world);
    token_world_start(&world);
    return 0;
}

static int end_world(void **state)
{
    (void)state;
    if (world.pid != 0)
        token_world_stop(&world);
    token_world_free(&world);
    return 0;
}

static void test_release_opens(void **state)
{
    (void)state;
    struct world_request r;
    struct err err = {0};
    token_world_request(&world, &r);
    r.m.token_release.id = 7;
    int fd = dial("");
    struct message *first = call(fd, &r.m), *second = call(fd, &r.m);
    assert_int_equal(first->type, MESSAGE_TOKEN_ANSWER);
    assert_int_equal(first->token_answer.id, 7);
    if (token_world_open(&world, first->token_answer.answer, &err) != 0)
        fail_msg("%s", err.text);
    assert_true(bytes_equal(first->token_answer.answer, second->token_answer.answer));
    message_free(first);
    message_free(second);
    (void)close(fd);
}

static void test_sign(void **state)
{
    (void)state;
    struct checkpoint c = {.size = 12, .origin = "example.test/n2/log"};
    memset(c.root, 0x5a, sizeof(c.root));
    struct message m = {.type = MESSAGE_TOKEN_SIGN, .token_sign = {.id = 1, .size = 12, .root = BYTES_OF(c.root)}};
    struct buf text;
    buf_init(&text, 1024);
    checkpoint_text(&c, &text);
    int fd = dial("");
    struct message *reply = call(fd, &m);
    assert_int_equal(reply->type, MESSAGE_TOKEN_SIGNATURE);
    assert_int_equal(ed25519_verify(world.log, buf_view(&text), reply->token_signature.signature), 0);
    message_free(reply);
    m.token_sign.root.len = 31;
    assert_code(call(fd, &m), ERR_FORMAT);
    buf_done(&text);
    (void)close(fd);
}

static void test_public(void **state)
{
    (void)state;
    struct message m = {.type = MESSAGE_TOKEN_PUBLIC_GET, .token_public_get = {.id = 3}};
    int fd = dial("");
    struct message *reply = call(fd, &m);
    assert_int_equal(reply->type, MESSAGE_TOKEN_PUBLIC);
    const struct msg_token_public *p = &reply->token_public;
    assert_true(bytes_equal(p->kem, BYTES_OF(world.kem)));
    assert_true(bytes_equal(p->seal, BYTES_OF(world.seal)));
    assert_true(bytes_equal(p->peer, BYTES_OF(world.peer)));
    assert_true(bytes_equal(p->log, BYTES_OF(world.log)));
    assert_int_equal(p->profile, 1);
    assert_int_equal(identity_issued(p->identity, p->identity), 0);
    message_free(reply);
    (void)close(fd);
}

static struct message leaf_request(struct bytes spki)
{
    struct clock clock = clock_system();
    uint64_t now = clock.now_ms(clock.arg);
    return (struct message){.type = MESSAGE_TOKEN_LEAF,
                            .token_leaf = {.id = 9,
                                           .spki = spki,
                                           .not_before_ms = now - 300000,
                                           .not_after_ms = now + 86400000,
                                           .address = bytes_str("127.0.0.1")}};
}

static void leaf_refused(struct message m, int code)
{
    int fd = dial(".leaf");
    assert_code(call(fd, &m), code);
    (void)close(fd);
}

static void test_leaf(void **state)
{
    (void)state;
    uint8_t spki[EC_SPKI_LEN];
    ec_point_spki(world.e_point, spki);
    struct message m = leaf_request(BYTES_OF(spki)), get = {.type = MESSAGE_TOKEN_PUBLIC_GET};
    int fd = dial(".leaf"), main_fd = dial("");
    struct message *reply = call(fd, &m), *public = call(main_fd, &get);
    assert_int_equal(reply->type, MESSAGE_TOKEN_CERTIFICATE);
    assert_int_equal(identity_issued(public->token_public.identity, reply->token_certificate.certificate), 0);
    uint8_t want[HASH_LEN], got[HASH_LEN];
    ec_point_spki_hash(world.e_point, want);
    assert_int_equal(identity_cert_key_hash(reply->token_certificate.certificate, got), 0);
    assert_memory_equal(want, got, HASH_LEN);
    message_free(reply);
    message_free(public);
    (void)close(fd);
    (void)close(main_fd);

    struct message bad = m;
    bad.token_leaf.not_after_ms = m.token_leaf.not_before_ms + 7ull * 86400000 + 1;
    leaf_refused(bad, ERR_EXPIRED);
    bad = m;
    bad.token_leaf.not_before_ms += 2 * 86400000; /* a leaf for later */
    bad.token_leaf.not_after_ms += 2 * 86400000;
    leaf_refused(bad, ERR_EXPIRED);
    spki[90] ^= 1; /* off the curve */
    leaf_refused(m, ERR_FORMAT);
    leaf_refused(get, ERR_ORDER);
}

/* ---- refusals: one change to a right request each */

static uint8_t scratch[EC_POINT_LEN];
static char chain_text[4096];

static void replace_chain(struct world_request *r, const char *from, const char *to)
{
    const char *at = strstr(world.chain, from);
    assert_non_null(at);
    (void)snprintf(chain_text, sizeof(chain_text), "%.*s%s%s", (int)(at - world.chain), world.chain, to,
                   at + strlen(from));
    r->m.token_release.chain = bytes_str(chain_text);
}

static struct bytes flipped(struct bytes from, size_t at)
{
    static uint8_t copy[SEALED_LEN + EC_POINT_LEN];
    assert_true(from.len <= sizeof(copy));
    memcpy(copy, from.p, from.len);
    copy[at] ^= 1;
    return BYTES(copy, from.len);
}

#define CHANGE(name, ...)                                                                                              \
    static void name(struct world_request *r)                                                                          \
    {                                                                                                                  \
        struct msg_token_release *m = &r->m.token_release;                                                             \
        (void)m;                                                                                                       \
        __VA_ARGS__                                                                                                    \
    }
CHANGE(previous_fewer, m->previous.count = 1;)
CHANGE(previous_none, m->previous.count = 0;)
CHANGE(previous_more, r->previous[2] = (struct msg_token_peer){3, bytes_str("n5"), BYTES_OF(world.gate_point[2]),
                                                               BYTES_OF(world.gate_link[2])};
       m->previous.count = 3;)
CHANGE(previous_twice, r->previous[1] = r->previous[0];)
CHANGE(previous_unlisted, r->previous[1].node = bytes_str("n9");)
CHANGE(previous_other_slot, r->previous[1].slot = 3;)
CHANGE(previous_order, struct msg_token_peer swap = r->previous[0]; r->previous[0] = r->previous[1];
       r->previous[1] = swap;)
CHANGE(previous_off_curve, r->previous[1].point = flipped(r->previous[1].point, 64);)
CHANGE(previous_no_link, r->previous[1].link_hash = BYTES_NONE;)
CHANGE(previous_our_key, r->previous[1].point = BYTES_OF(world.peer);)
CHANGE(prevhash_other, m->prevhash = flipped(m->prevhash, 0);)
CHANGE(next_fewer, m->next.count = 1;)
CHANGE(next_unlisted, r->next[0].node = bytes_str("n9");)
CHANGE(next_order, struct msg_token_peer swap = r->next[0]; r->next[0] = r->next[1]; r->next[1] = swap;)
CHANGE(next_twice, r->next[1] = r->next[0];)
CHANGE(next_off_curve, r->next[1].point = flipped(r->next[1].point, 40);)
CHANGE(next_no_link, m->link_hash = BYTES_NONE;)
CHANGE(e_off_curve, m->session_key = flipped(m->session_key, 64);)
CHANGE(e_compressed, memcpy(scratch, m->session_key.p, 33); scratch[0] = 0x02; m->session_key = BYTES(scratch, 33);)
CHANGE(e_zero, memset(scratch, 0, sizeof(scratch)); scratch[0] = 0x04; m->session_key = BYTES_OF(scratch);)
CHANGE(e_our_peer, m->session_key = BYTES_OF(world.peer);)
CHANGE(e_our_kem, m->session_key = BYTES_OF(world.kem);)
CHANGE(r_off_curve, m->point = flipped(m->point, 64);)
CHANGE(r_other, m->point = BYTES_OF(world.e_point);)
CHANGE(sealed_flipped, m->sealed = flipped(m->sealed, 71);)
CHANGE(sealed_short, m->sealed.len = 64;)
CHANGE(owner_other, m->owner = flipped(m->owner, 0);)
CHANGE(policy_other, m->policy_name = bytes_str("db-polizy");)
CHANGE(policy_bad, m->policy_name = bytes_str("DB policy");)
CHANGE(envelope_other, m->envelope_id = flipped(m->envelope_id, 3);)
CHANGE(generation_other, m->generation = 2;)
CHANGE(stage_other, m->stage = 1;)
CHANGE(stage_beyond, m->stage = 4;)
CHANGE(stage_zero, m->stage = 0;)
CHANGE(slot_other, m->slot = 2;)
CHANGE(slot_none, m->slot = 9;)
CHANGE(tag_profile_other, m->tag_profile = 2;)
CHANGE(nonce_short, m->client_nonce.len = 31;)
CHANGE(chain_network, replace_chain(r, "example.test", "another.test");)
CHANGE(chain_need, replace_chain(r, "need: 2", "need: 3");)
CHANGE(chain_cut, m->chain.len -= 3;)
CHANGE(chain_none, m->chain = BYTES_NONE;)

static const struct {
    const char *name;
    void (*change)(struct world_request *r);
    int code;
} refusals[] = {
#define REFUSAL(name, code)                                                                                            \
    {                                                                                                                  \
#name, name, code                                                                                              \
    }
    REFUSAL(previous_fewer, ERR_LINK),       REFUSAL(previous_none, ERR_LINK),
    REFUSAL(previous_more, ERR_LINK),        REFUSAL(previous_twice, ERR_LINK),
    REFUSAL(previous_unlisted, ERR_LINK),    REFUSAL(previous_other_slot, ERR_LINK),
    REFUSAL(previous_order, ERR_LINK),       REFUSAL(previous_off_curve, ERR_LINK),
    REFUSAL(previous_no_link, ERR_FORMAT),   REFUSAL(previous_our_key, ERR_LINK),
    REFUSAL(prevhash_other, ERR_LINK),       REFUSAL(next_fewer, ERR_CHAIN),
    REFUSAL(next_unlisted, ERR_CHAIN),       REFUSAL(next_order, ERR_CHAIN),
    REFUSAL(next_twice, ERR_CHAIN),          REFUSAL(next_off_curve, ERR_CHAIN),
    REFUSAL(next_no_link, ERR_FORMAT),       REFUSAL(e_off_curve, ERR_SESSION_KEY),
    REFUSAL(e_compressed, ERR_SESSION_KEY),  REFUSAL(e_zero, ERR_SESSION_KEY),
    REFUSAL(e_our_peer, ERR_SESSION_KEY),    REFUSAL(e_our_kem, ERR_SESSION_KEY),
    REFUSAL(r_off_curve, ERR_FORMAT),        REFUSAL(r_other, ERR_TOKEN),
    REFUSAL(sealed_flipped, ERR_TOKEN),      REFUSAL(sealed_short, ERR_FORMAT),
    REFUSAL(owner_other, ERR_TOKEN),         REFUSAL(policy_other, ERR_TOKEN),
    REFUSAL(policy_bad, ERR_FORMAT),         REFUSAL(envelope_other, ERR_TOKEN),
    REFUSAL(generation_other, ERR_TOKEN),    REFUSAL(stage_other, ERR_STAGE),
    REFUSAL(stage_beyond, ERR_STAGE),        REFUSAL(stage_zero, ERR_STAGE),
    REFUSAL(slot_other, ERR_STAGE),          REFUSAL(slot_none, ERR_STAGE),
    REFUSAL(tag_profile_other, ERR_VERSION), REFUSAL(nonce_short, ERR_FORMAT),
    REFUSAL(chain_network, ERR_NETWORK),     REFUSAL(chain_need, ERR_LINK),
    REFUSAL(chain_cut, ERR_FORMAT),          REFUSAL(chain_none, ERR_FORMAT),
#undef REFUSAL
};

static void test_refusals(void **state)
{
    (void)state;
    int fd = dial("");
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct world_request r;
        token_world_request(&world, &r);
        refusals[i].change(&r);
        print_message("refusal: %s\n", refusals[i].name);
        assert_code(call(fd, &r.m), refusals[i].code);
    }
    struct world_request r; /* and nothing of all that hurt it */
    struct err err = {0};
    token_world_request(&world, &r);
    struct message *reply = call(fd, &r.m);
    assert_int_equal(reply->type, MESSAGE_TOKEN_ANSWER);
    assert_int_equal(token_world_open(&world, reply->token_answer.answer, &err), 0);
    message_free(reply);
    (void)close(fd);
}

/* Whatever enters the locks or the session's key changes what opens: the answer of another session is of no use here.
 */
static void test_locks_bind(void **state)
{
    (void)state;
    struct world_request r;
    struct err err = {0};
    uint8_t other_nonce[NONCE_LEN] = {1}, other_link[HASH_LEN] = {2}, other_prev[HASH_LEN];
    int fd = dial("");
    token_world_request(&world, &r);
    r.m.token_release.client_nonce = BYTES_OF(other_nonce); /* another sid */
    struct message *reply = call(fd, &r.m);
    assert_int_equal(reply->type, MESSAGE_TOKEN_ANSWER);
    assert_int_not_equal(token_world_open(&world, reply->token_answer.answer, &err), 0);
    message_free(reply);
    token_world_request(&world, &r);
    r.m.token_release.link_hash = BYTES_OF(other_link); /* only the tags that we mint */
    reply = call(fd, &r.m);
    assert_int_not_equal(token_world_open(&world, reply->token_answer.answer, &err), 0);
    assert_non_null(strstr(err.text, "tag"));
    message_free(reply);
    token_world_request(&world, &r);
    r.previous[0].link_hash = BYTES_OF(other_link);
    uint8_t links[2][HASH_LEN];
    memcpy(links[0], other_link, HASH_LEN);
    memcpy(links[1], world.gate_link[1], HASH_LEN);
    context_prevhash((const uint8_t(*)[HASH_LEN])links, 2, other_prev);
    r.m.token_release.prevhash = BYTES_OF(other_prev);
    reply = call(fd, &r.m);
    assert_int_equal(reply->type, MESSAGE_TOKEN_ANSWER);
    assert_int_not_equal(token_world_open(&world, reply->token_answer.answer, &err), 0);
    message_free(reply);
    (void)close(fd);
}

static void test_rubbish(void **state)
{
    (void)state;
    static const uint8_t rubbish[][4] = {{0x40, 0xff, 0xff, 0xff}, {0x01, 0, 0, 0}, {0xff, 1, 2, 3}};
    uint8_t record[1024];
    struct message *reply = NULL;
    int fd = dial("");
    for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
        assert_int_equal(send(fd, rubbish[i], sizeof(rubbish[i]), MSG_NOSIGNAL), sizeof(rubbish[i]));
        ssize_t n = recv(fd, record, sizeof(record), 0);
        assert_true(n > 0);
        assert_int_equal(record_unpack(BYTES(record, (size_t)n), &reply, NULL), 0);
        assert_int_equal(reply->type, MESSAGE_TOKEN_FAILURE);
        assert_int_equal(reply->token_failure.id, 0);
        message_free(reply);
    }
    (void)close(fd);
}

/* ---- init and start */

static void test_init_never_over(void **state)
{
    (void)state;
    char said[1024];
    const char *words[] = {"init", "--config", world.config, "--out", world.out, NULL};
    assert_int_equal(token_world_command(&world, words, said, sizeof(said)), EXIT_USAGE);
    assert_non_null(strstr(said, "exists"));
}

static void test_one_tokend(void **state)
{
    (void)state;
    char said[1024];
    const char *words[] = {"run", "--config", world.config, NULL};
    assert_int_equal(token_world_command(&world, words, said, sizeof(said)), EXIT_USAGE);
    assert_non_null(strstr(said, "another tokend runs"));
}

/* Everything that the token lets an intruder with the PIN change, in a child so that no module is loaded here. */
struct plant {
    const char *label; /* NULL: a secret key of the intruder's own */
    CK_ATTRIBUTE_TYPE type;
    bool log_token;
};

static int plant(const struct plant *what, bool value)
{
    struct tokend_config c;
    struct pkcs11 p;
    struct secret *pin = NULL;
    struct err err = {0};
    if (tokend_config_load(world.config, &c, &err) != 0 || secret_setup(&err) != 0 ||
        pkcs11_pin(c.pin_file, &pin, &err) != 0 || pkcs11_load(&c, &p, &err) != 0 ||
        pkcs11_login(&p, &c, pin, true, &err) != 0)
        return 1;
    CK_SESSION_HANDLE s = p.session[what->log_token ? PKCS11_LOG : PKCS11_MAIN];
    struct template find = {.count = 0}, set = {.count = 0};
    const char *label = what->label != NULL ? what->label : "spare";
    template_number(&find, CKA_CLASS, what->label != NULL ? CKO_PRIVATE_KEY : CKO_SECRET_KEY);
    template_bytes(&find, CKA_LABEL, bytes_str(label));
    CK_OBJECT_HANDLE o = 0;
    CK_ULONG count = 0;
    if (what->label == NULL && value) {
        CK_MECHANISM m = {CKM_AES_KEY_GEN, NULL, 0};
        template_bytes(&set, CKA_LABEL, bytes_str(label));
        template_number(&set, CKA_VALUE_LEN, 32);
        template_flag(&set, CKA_TOKEN, true);
        return p.call->C_GenerateKey(s, &m, set.at, set.count, &o) == CKR_OK ? 0 : 2;
    }
    if (p.call->C_FindObjectsInit(s, find.at, find.count) != CKR_OK ||
        p.call->C_FindObjects(s, &o, 1, &count) != CKR_OK || p.call->C_FindObjectsFinal(s) != CKR_OK || count != 1)
        return 3;
    if (what->label == NULL)
        return p.call->C_DestroyObject(s, o) == CKR_OK ? 0 : 4;
    template_flag(&set, what->type, value);
    return p.call->C_SetAttributeValue(s, o, set.at, set.count) == CKR_OK ? 0 : 5;
}

static void plant_in_child(const struct plant *what, bool value)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(plant(what, value));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_planted(void **state)
{
    (void)state;
    static const struct {
        struct plant plant;
        const char *say;
    } cases[] = {
        {{"kem", CKA_DECRYPT, false}, "key kem: attribute DECRYPT is TRUE and must be FALSE"},
        {{"seal", CKA_SIGN, false}, "key seal: attribute SIGN is TRUE and must be FALSE"},
        {{"peer", CKA_UNWRAP, false}, "key peer: attribute UNWRAP is TRUE and must be FALSE"},
        {{"identity", CKA_DERIVE, false}, "key identity: attribute DERIVE is TRUE and must be FALSE"},
        {{"log", CKA_SIGN_RECOVER, true}, "key log: attribute SIGN_RECOVER is TRUE and must be FALSE"},
        {{NULL, 0, false}, "holds a secret key that is not ours (label \"spare\")"},
    };
    char said[2048];
    const char *words[] = {"run", "--config", world.config, NULL};
    token_world_stop(&world);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        plant_in_child(&cases[i].plant, true);
        int code = token_world_command(&world, words, said, sizeof(said));
        plant_in_child(&cases[i].plant, false);
        if (code != EXIT_USAGE || strstr(said, cases[i].say) == NULL)
            fail_msg("exit %d: %s", code, said);
        assert_int_not_equal(access(world.socket, F_OK), 0);
    }
    token_world_start(&world);
}

/* A certificate of another key, an open PIN file, an open folder: refused before there is a socket. */
static void test_start_refusals(void **state)
{
    (void)state;
    char said[2048], pin[128];
    const char *words[] = {"run", "--config", world.config, NULL};
    (void)snprintf(pin, sizeof(pin), "%s/pin", world.folder);
    token_world_stop(&world);
    assert_int_equal(chmod(pin, 0440), 0);
    assert_int_equal(token_world_command(&world, words, said, sizeof(said)), EXIT_USAGE);
    assert_non_null(strstr(said, "mode 0400"));
    assert_int_equal(chmod(pin, 0400), 0);
    assert_int_equal(chmod(world.folder, 0770), 0);
    assert_int_equal(token_world_command(&world, words, said, sizeof(said)), EXIT_USAGE);
    assert_non_null(strstr(said, "writable by its owner only"));
    assert_int_equal(chmod(world.folder, 0700), 0);

    void *other = NULL;
    struct buf der, pem, old;
    struct err err = {0};
    char identity[128];
    (void)snprintf(identity, sizeof(identity), "%s/identity.pem", world.out);
    buf_init(&der, 8192);
    buf_init(&pem, 8192);
    assert_int_equal(file_read(identity, 8192, &old, &err), 0);
    assert_int_equal(identity_key_new(&other), 0);
    assert_int_equal(identity_self_signed(other, "n2", 1000, 4102444800000, &der, &err), 0);
    assert_int_equal(identity_cert_to_pem(buf_view(&der), &pem), 0);
    assert_int_equal(file_write(identity, buf_view(&pem), 0644, &err), 0);
    assert_int_equal(token_world_command(&world, words, said, sizeof(said)), EXIT_USAGE);
    assert_non_null(strstr(said, "does not belong to key identity"));
    assert_int_equal(file_write(identity, buf_view(&old), 0644, &err), 0);
    identity_key_free(other);
    buf_done(&der);
    buf_done(&pem);
    buf_done(&old);
    token_world_start(&world);
}

#define OTHER_UID 65534

/* A client of that uid (and our group): does it get an answer? */
static bool answered_as(uid_t uid)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        static uint8_t record[RECORD_MAX];
        struct message m = {.type = MESSAGE_TOKEN_PUBLIC_GET};
        struct buf out;
        buf_init(&out, RECORD_MAX);
        if (setuid(uid) != 0 || record_pack(&m, &out, NULL) != 0)
            _exit(2);
        int fd = dial("");
        (void)send(fd, out.p, out.len, MSG_NOSIGNAL);
        _exit(recv(fd, record, sizeof(record), 0) > 0 && record[0] == MESSAGE_TOKEN_PUBLIC ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

/* With a uid of its own for the node, only that uid is served, however the doors stand. */
static void test_peer_uid(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    token_world_stop(&world);
    struct stat before, door;
    assert_int_equal(stat(world.config, &before), 0);
    FILE *f = fopen(world.config, "a");
    assert_true(f != NULL && fprintf(f, "uid: %d\n", OTHER_UID) > 0 && fclose(f) == 0);
    assert_int_equal(chmod(world.folder, 0711), 0);
    token_world_start(&world);
    assert_int_equal(stat(world.socket, &door), 0);
    assert_int_equal(door.st_mode & 07777, 0660);
    assert_true(answered_as(OTHER_UID));
    assert_false(answered_as(0));
    token_world_stop(&world);
    assert_int_equal(truncate(world.config, before.st_size), 0);
    assert_int_equal(chmod(world.folder, 0700), 0);
    token_world_start(&world);
    assert_int_equal(stat(world.socket, &door), 0);
    assert_int_equal(door.st_mode & 07777, 0600);
    assert_true(answered_as(0));
}

/* ---- ask under deaths */

static uint8_t untouched[HASH_LEN];

struct load {
    uv_loop_t loop;
    uv_timer_t tick;
    struct ask *ask;
    struct world_request request;
    unsigned want, asked, answered, wrong, failed, refused, kills, ticks;
    void (*on_tick)(struct load *l);
    bool done;
};

static void top_up(struct load *l);

static void on_answer(void *arg, const struct message *reply, const struct err *err)
{
    struct load *l = arg;
    struct err why = {0};
    if (reply == NULL) {
        l->failed++;
        print_message("failed: %s\n", err->text);
    } else if (token_world_open(&world, reply->token_answer.answer, &why) != 0) {
        l->wrong++;
    }
    l->answered++;
    top_up(l);
}

static void on_stopped(void *arg)
{
    struct load *l = arg;
    uv_close((uv_handle_t *)&l->tick, NULL);
}

static void top_up(struct load *l)
{
    struct token *t = ask_token(l->ask);
    while (l->asked < l->want && l->asked - l->answered < 24) {
        int rc = t->ask(t, &l->request.m, 20000, on_answer, l);
        if (rc != 0) { /* away: the tick tries again */
            l->refused++;
            return;
        }
        l->asked++;
    }
    if (l->answered == l->want && !l->done) {
        l->done = true;
        ask_stop(l->ask, on_stopped, l);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct load *l = timer->data;
    l->ticks++;
    if (!l->done) {
        l->on_tick(l);
        top_up(l);
    }
}

static void run_load(struct load *l, unsigned want, void (*tick)(struct load *l))
{
    struct err err = {0};
    memset(l, 0, sizeof(*l));
    l->want = want;
    l->on_tick = tick;
    token_world_request(&world, &l->request);
    assert_int_equal(uv_loop_init(&l->loop), 0);
    assert_int_equal(uv_timer_init(&l->loop, &l->tick), 0);
    l->tick.data = l;
    assert_int_equal(ask_start(&l->loop, world.socket, (unsigned)geteuid(), &l->ask, &err), 0);
    assert_int_equal(uv_timer_start(&l->tick, on_tick, 1, 100), 0);
    (void)uv_run(&l->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&l->loop), 0);
    print_message("%u answered, %u kills, %u refused while away\n", l->answered, l->kills, l->refused);
    assert_int_equal(l->answered, want);
    assert_int_equal(l->wrong, 0);
    assert_int_equal(l->failed, 0);
}

static void kill_one(struct load *l)
{
    pid_t worker[8];
    size_t n = token_world_workers(&world, worker, 8);
    if (l->ticks % 2 == 0 && n > 0 && l->kills < 6) { /* fewer than ASK_RESEND_MAX */
        assert_int_equal(kill(worker[l->ticks / 2 % n], SIGKILL), 0);
        l->kills++;
    }
}

static void test_killed_workers(void **state)
{
    (void)state;
    struct load l;
    hash_folder(untouched);
    run_load(&l, 800, kill_one);
    assert_true(l.kills >= 2);
}

static void test_recycling(void **state)
{
    (void)state;
    pid_t before[8], after[8];
    struct world_request r;
    int fd = dial("");
    token_world_request(&world, &r);
    struct message get = {.type = MESSAGE_TOKEN_PUBLIC_GET}, *reply;
    message_free(call(fd, &get));
    size_t n = token_world_workers(&world, before, 8);
    assert_true(n >= 2);
    for (unsigned i = 0; i < 9000; i++) { /* two workers leave after 4000 requests each */
        reply = call(fd, &get);
        assert_int_equal(reply->type, MESSAGE_TOKEN_PUBLIC);
        message_free(reply);
    }
    size_t m = token_world_workers(&world, after, 8);
    unsigned kept = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < n; k++)
            kept += after[i] == before[k];
    assert_true(m >= 2 && kept < 2);
    (void)close(fd);
}

static void restart(struct load *l)
{
    if (l->ticks == 3) {
        token_world_stop(&world);
        l->kills++;
    }
    if (l->ticks == 6) { /* away: refused at once, nothing hangs */
        struct token *t = ask_token(l->ask);
        struct world_request r;
        token_world_request(&world, &r);
        assert_string_equal(t->health(t), "absent");
        assert_int_equal(t->ask(t, &r.m, 20000, on_answer, l), ERR_TOKEN);
    }
    if (l->ticks == 8)
        token_world_start(&world);
}

static void test_tokend_back(void **state)
{
    (void)state;
    struct load l;
    run_load(&l, 900, restart);
    assert_int_equal(l.kills, 1);
}

/* After all those logins, some of them killed half way. */
static void test_token_untouched(void **state)
{
    (void)state;
    uint8_t now[HASH_LEN];
    token_world_stop(&world);
    hash_folder(now);
    assert_memory_equal(untouched, now, HASH_LEN);
    assert_int_equal(folder_copies, 0);
    token_world_start(&world);
}

/* A request that nobody answers ends at its deadline; one that is pending at the end is told so. */
struct lonely {
    uv_loop_t loop;
    struct ask *ask;
    int code[2];
    unsigned calls;
};

static void on_lonely(void *arg, const struct message *reply, const struct err *err)
{
    struct lonely *l = arg;
    assert_null(reply);
    l->code[l->calls++] = err->code;
    if (l->calls == 1)
        ask_stop(l->ask, NULL, NULL);
}

static void test_deadline(void **state)
{
    (void)state;
    struct lonely l = {.calls = 0};
    struct err err = {0};
    struct message m = {.type = MESSAGE_TOKEN_PUBLIC_GET};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s/deaf.sock", world.folder);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(uv_loop_init(&l.loop), 0);
    assert_int_equal(ask_start(&l.loop, at.sun_path, (unsigned)geteuid(), &l.ask, &err), 0);
    struct token *t = ask_token(l.ask);
    assert_string_equal(t->health(t), "ok");
    assert_int_equal(t->ask(t, &m, 60000, on_lonely, &l), 0);
    assert_int_equal(t->ask(t, &m, 50, on_lonely, &l), 0);
    assert_int_equal(l.calls, 0);
    (void)uv_run(&l.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&l.loop), 0);
    assert_int_equal(l.calls, 2);
    assert_int_equal(l.code[0], ERR_DEADLINE);
    assert_int_equal(l.code[1], ERR_CLOSED);
    (void)close(fd);
}

static void test_full(void **state)
{
    (void)state;
    struct lonely l = {.calls = 1}; /* do not stop at the first */
    struct err err = {0};
    struct message m = {.type = MESSAGE_TOKEN_PUBLIC_GET};
    assert_int_equal(uv_loop_init(&l.loop), 0);
    assert_int_equal(ask_start(&l.loop, world.socket, (unsigned)geteuid() + 1, &l.ask, &err), 0);
    struct token *t = ask_token(l.ask);
    assert_string_equal(t->health(t), "absent"); /* tokend runs under another uid than asked for */
    assert_int_equal(t->ask(t, &m, 50, on_lonely, &l), ERR_TOKEN);
    ask_stop(l.ask, NULL, NULL);
    (void)uv_run(&l.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&l.loop), 0);
}

/* ---- the PIN */

static uint8_t pin_mask[64]; /* the PIN, every byte xor 0x55: this process never holds it */

static void read_masked_pin(void)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/pin", world.folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof(pin_mask); i++) {
        assert_int_equal(read(fd, &pin_mask[i], 1), 1);
        pin_mask[i] ^= 0x55;
    }
    (void)close(fd);
}

static unsigned scan(const uint8_t *p, size_t len)
{
    unsigned hits = 0;
    for (size_t i = 0; i + 32 <= len; i++) { /* its first half is enough */
        size_t k = 0;
        while (k < 32 && (p[i + k] ^ 0x55) == pin_mask[k])
            k++;
        hits += k == 32;
    }
    return hits;
}

static unsigned scan_file(pid_t pid, const char *name)
{
    char path[64];
    static uint8_t text[65536];
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, text, sizeof(text));
    assert_true(n >= 0);
    (void)close(fd);
    return scan(text, (size_t)n);
}

static unsigned scan_memory(pid_t pid)
{
    char path[64], line[512];
    unsigned hits = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "r");
    (void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(maps != NULL && mem >= 0);
    static uint8_t page[4096 + 64]; /* 64 of the page before, for what lies across */
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to;
        char mode[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || mode[0] != 'r' || mode[1] != 'w')
            continue;
        size_t keep = 0;
        for (unsigned long at = from; at < to; at += 4096) {
            ssize_t n = pread(mem, page + keep, 4096, (off_t)at);
            if (n != 4096)
                break;
            hits += scan(page, keep + 4096);
            memmove(page, page + keep + 4096 - 31, 31);
            keep = 31;
        }
    }
    (void)fclose(maps);
    (void)close(mem);
    return hits;
}

/* Positive control: a child that does hold the PIN is caught. */
static void control(void)
{
    int p[2];
    char byte;
    assert_int_equal(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        uint8_t *held = malloc(64);
        for (size_t i = 0; held != NULL && i < 64; i++)
            ((volatile uint8_t *)held)[i] = pin_mask[i] ^ 0x55;
        if (write(p[1], "x", 1) == 1)
            (void)pause();
        _exit(0);
    }
    assert_int_equal(read(p[0], &byte, 1), 1);
    assert_int_equal(scan_memory(pid), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    (void)close(p[0]);
    (void)close(p[1]);
}

static void test_pin_nowhere(void **state)
{
    (void)state;
    pid_t pid[9] = {world.pid};
    struct world_request r;
    if (geteuid() != 0 || SANITIZED)
        skip(); /* tokend forbids others to look into it; a sanitizer's shadow is endless */
    int fd = dial("");
    token_world_request(&world, &r);
    message_free(call(fd, &r.m));
    size_t n = 1 + token_world_workers(&world, pid + 1, 8);
    assert_true(n >= 3);
    read_masked_pin();
    control();
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(scan_file(pid[i], "cmdline"), 0);
        assert_int_equal(scan_file(pid[i], "environ"), 0);
        unsigned hits = 1;
        for (unsigned tries = 0; tries < 100 && hits > 0; tries++) /* a worker may just be logging in */
            hits = scan_memory(pid[i]);
        assert_int_equal(hits, 0); /* wiped after the login, in SoftHSM too */
    }
    assert_int_equal(scan_memory(getpid()), 0);
    (void)close(fd);
}

/* The master has no business with the module. */
static void test_master_without_module(void **state)
{
    (void)state;
    char path[64], line[512];
    (void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)world.pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        skip(); /* not root */
    while (fgets(line, sizeof(line), f) != NULL)
        assert_null(strstr(line, "libsofthsm2"));
    (void)fclose(f);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (argc != 2)
        return EXIT_USAGE;
    program = argv[1];
    if (access(WORLD_MODULE, R_OK) != 0) {
        (void)fprintf(stderr, "skipped: no SoftHSM at %s\n", WORLD_MODULE);
        return 77;
    }
    if (secret_setup(&err) != 0)
        return EXIT_INTERNAL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_release_opens),
        cmocka_unit_test(test_sign),
        cmocka_unit_test(test_public),
        cmocka_unit_test(test_leaf),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_locks_bind),
        cmocka_unit_test(test_rubbish),
        cmocka_unit_test(test_init_never_over),
        cmocka_unit_test(test_one_tokend),
        cmocka_unit_test(test_pin_nowhere),
        cmocka_unit_test(test_master_without_module),
        cmocka_unit_test(test_planted),
        cmocka_unit_test(test_start_refusals),
        cmocka_unit_test(test_peer_uid),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_killed_workers),
        cmocka_unit_test(test_tokend_back),
        cmocka_unit_test(test_recycling),
        cmocka_unit_test(test_token_untouched),
    };
    return cmocka_run_group_tests_name("token", tests, start_world, end_world);
}
