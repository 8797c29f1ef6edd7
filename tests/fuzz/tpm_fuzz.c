/* tpm: can bytes of a stranger hurt the verifier of TPM quotes, or make its parsers accept what they must not? */
#include "common/evidence/evidence.h"
#include "common/evidence/tpm2_wire.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct bytes view, struct bytes whole)
{
    return view.len == 0 || (view.p >= whole.p && view.p + view.len <= whole.p + whole.len);
}

static void attest(struct bytes in)
{
    struct tpm2_attest a;
    struct err err;
    if (tpm2_attest_parse(in, &a, &err) != 0)
        return;
    assert(a.pcr_mask != 0 && a.pcr_mask >> TPM_PCR_COUNT == 0);
    assert(inside(a.signer, in) && inside(a.extra_data, in));
    assert(memcmp(in.p, "\xff\x54\x43\x47\x80\x18", 6) == 0);
}

static void public(struct bytes in)
{
    struct tpm2_public p;
    struct err err;
    if (tpm2_public_parse(in, &p, &err) != 0)
        return;
    assert(ec_point_check(BYTES_OF(p.point)) == 0 && inside(p.policy, in));
    bool ak = tpm2_public_check_ak(&p, &err) == 0, ek = tpm2_public_check_ek(&p, &err) == 0;
    assert(!(ak && ek));
}

static void signature(struct bytes in)
{
    struct tpm2_signature s;
    struct err err;
    if (tpm2_signature_parse(in, &s, &err) == 0)
        assert(s.r.len > 0 && s.r.len <= 32 && s.s.len > 0 && s.s.len <= 32 && inside(s.r, in) && inside(s.s, in));
}

static void whole(struct bytes in)
{
    struct claims c;
    struct err err;
    if (evidence_find(bytes_str("tpm2"))->verify(in, 0, &c, &err) == 0)
        assert(c.report_data_len == HASH_LEN && c.pcr_mask != 0);
}

/* The first byte says which: 0x0a begins a TpmEvidence message, so recorded evidence is a seed as it is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0]) {
    case 'a':
        attest(BYTES(data + 1, size - 1));
        break;
    case 'p':
        public
        (BYTES(data + 1, size - 1));
        break;
    case 's':
        signature(BYTES(data + 1, size - 1));
        break;
    default:
        whole(BYTES(data, size));
    }
    return 0;
}
