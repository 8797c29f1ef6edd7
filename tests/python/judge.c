/* judge: asks the C implementation for its verdict on what the Python one made; one question a line, one answer a line.
 *
 *   tiles FOLDER VKEY | receipt VKEY ENTRY RECEIPT | entry FILE | document ROOT POLICY NOTE | evidence FILE BIND
 *   chain ROOT POLICY ENVELOPE ROSTER STATUS CHAIN NOW_MS
 *
 * Arguments are file names (no spaces), "-" for none, but VKEY and NOW_MS. The answer is "ok" or the error's name and
 * text. */
#include "common/base/yaml.h"
#include "common/documents/chain.h"
#include "common/evidence/evidence.h"
#include "common/ledger/entry.h"
#include "common/ledger/receipt.h"
#include "common/ledger/tiles.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 8
#define LINE_MAX_LEN 4096
#define FILE_MAX_LEN (2u * 1024u * 1024u)

static int load(const char *path, struct buf *ret, struct err *err)
{
    return file_read(path, FILE_MAX_LEN, ret, err);
}

static int judge_receipt(char **w, struct err *err)
{
    struct note_key key;
    struct buf entry, receipt;
    uint64_t index;
    struct checkpoint c;
    TRY(note_key_parse(w[1], &key, err));
    TRY(load(w[2], &entry, err));
    TRY(load(w[3], &receipt, err));
    int rc = receipt_verify(buf_view(&receipt), buf_view(&entry), &key, &index, &c, err);
    buf_done(&entry);
    buf_done(&receipt);
    return rc;
}

static int judge_tiles(char **w, struct err *err)
{
    struct note_key key;
    struct tiles_report report;
    TRY(note_key_parse(w[2], &key, err));
    return tiles_verify(w[1], &key, NULL, NULL, &report, err);
}

static int judge_entry(char **w, struct err *err)
{
    struct buf entry;
    struct message *m = NULL;
    TRY(load(w[1], &entry, err));
    int rc = entry_parse(buf_view(&entry), &m, err);
    if (rc == 0)
        message_free(m);
    buf_done(&entry);
    return rc;
}

static int judge_evidence(char **w, struct err *err)
{
    struct buf data, bind;
    struct claims claims;
    const struct evidence_format *f = evidence_find(bytes_str("tpm2"));
    TRY(load(w[1], &data, err));
    TRY(load(w[2], &bind, err));
    int rc = f->verify(buf_view(&data), 0, &claims, err);
    if (rc == 0)
        rc = bind.len == 64 ? evidence_check_bind(f, &claims, bind.p) : ERR_FORMAT;
    buf_done(&data);
    buf_done(&bind);
    return rc;
}

/* NULL document for "-". */
static int open_document(const char *path, struct document_trust trust, struct document **ret, struct err *err)
{
    struct buf note;
    *ret = NULL;
    if (strcmp(path, "-") == 0)
        return 0;
    TRY(load(path, &note, err));
    int rc = document_open(buf_view(&note), trust, path, ret, err);
    buf_done(&note);
    return rc;
}

static int judge_document(char **w, struct err *err)
{
    struct document *root = NULL, *policy = NULL, *d = NULL;
    int rc = open_document(w[1], (struct document_trust){NULL, NULL}, &root, err);
    if (rc == 0)
        rc = open_document(w[2], (struct document_trust){root, NULL}, &policy, err);
    if (rc == 0)
        rc = open_document(w[3], (struct document_trust){root, policy}, &d, err);
    document_unref(d);
    document_unref(policy);
    document_unref(root);
    return rc;
}

static int judge_chain(char **w, struct err *err)
{
    struct document *d[6] = {0}; /* root, policy, envelope, roster, status, chain */
    int rc = 0;
    for (int i = 0; rc == 0 && i < 6; i++)
        rc = open_document(w[1 + i], (struct document_trust){d[0], d[1]}, &d[i], err);
    struct chain_world world = {.policy = d[1], .envelope = d[2], .roster = d[3], .status = d[4]};
    if (rc == 0)
        rc = chain_check(&world, d[5], strtoull(w[7], NULL, 10), err);
    for (int i = 0; i < 6; i++)
        document_unref(d[i]);
    return rc;
}

static const struct {
    const char *name;
    int words;
    int (*judge)(char **w, struct err *err);
} questions[] = {
    {"tiles", 3, judge_tiles},       {"receipt", 4, judge_receipt},   {"entry", 2, judge_entry},
    {"document", 4, judge_document}, {"evidence", 3, judge_evidence}, {"chain", 8, judge_chain},
};

static int answer(char *line)
{
    char *w[WORDS_MAX + 1] = {0}, *rest = NULL;
    int count = 0;
    for (char *p = strtok_r(line, " \n", &rest); p != NULL && count <= WORDS_MAX; p = strtok_r(NULL, " \n", &rest))
        w[count++] = p;
    for (size_t i = 0; i < sizeof(questions) / sizeof(*questions); i++) {
        if (count != questions[i].words || strcmp(w[0], questions[i].name) != 0)
            continue;
        struct err err = {0};
        int rc = questions[i].judge(w, &err);
        printf("%s %s\n", rc == 0 ? "ok" : err_name(rc), rc == 0 ? "" : err.text);
        return 0;
    }
    return 1;
}

int main(void)
{
    char line[LINE_MAX_LEN];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (answer(line) != 0) {
            fprintf(stderr, "judge: no such question\n");
            return EXIT_USAGE;
        }
    }
    return 0;
}
