/* evidence: the table of formats; the check that evidence is bound to this session. */
#include "common/evidence/evidence.h"
#include "common/evidence/tpm2.h"
#include <openssl/crypto.h>

static const struct evidence_format formats[] = {
    {"tpm2", tpm2_verify, tpm2_expected_report_data},
};

const struct evidence_format *evidence_find(struct bytes name)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (bytes_is(name, formats[i].name))
            return &formats[i];
    return NULL;
}

int evidence_check_bind(const struct evidence_format *f, const struct claims *c, const uint8_t bind[64])
{
    /* Both sides in whole fields, zero behind their length, so that one comparison covers every byte. */
    uint8_t want[64] = {0}, is[64] = {0};
    size_t want_len = 0;
    f->expected_report_data(bind, want, &want_len);
    if (c->report_data_len == 0 || c->report_data_len > sizeof(is) || c->report_data_len != want_len)
        return ERR_BIND;
    for (size_t i = 0; i < c->report_data_len; i++)
        is[i] = c->report_data[i];
    if (bytes_is_zero(BYTES_OF(is)))
        return ERR_BIND;
    return CRYPTO_memcmp(want, is, sizeof(is)) == 0 ? 0 : ERR_BIND;
}
