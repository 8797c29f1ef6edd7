/* ledger_export: by program, or entry by entry over the control socket. */
#include "orchestrator/cli/ledger_export.h"
#include "common/ledger/entry.h"
#include "common/ledger/tiles.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/control.h"
#include <stdlib.h>
#include <string.h>

#define FETCH_COUNT 1000

struct fetched {
    struct bytes *entries; /* owned */
    uint64_t count;
    uint8_t (*node[64])[HASH_LEN]; /* full nodes by level */
    uint64_t room[64];
    bool out_of_memory;
};

static void fetched_done(struct fetched *f)
{
    for (uint64_t i = 0; i < f->count; i++)
        free((void *)(uintptr_t)f->entries[i].p);
    free(f->entries);
    for (unsigned l = 0; l < 64; l++)
        free(f->node[l]);
}

static void on_node(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_LEN])
{
    struct fetched *f = arg;
    if (index >= f->room[level]) {
        uint64_t room = f->room[level] > 0 ? 2 * f->room[level] : 256;
        uint8_t(*grown)[HASH_LEN] = realloc(f->node[level], room * HASH_LEN);
        if (grown == NULL) {
            f->out_of_memory = true;
            return;
        }
        f->node[level] = grown;
        f->room[level] = room;
    }
    memcpy(f->node[level][index], hash, HASH_LEN);
}

static int read_node(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_LEN])
{
    const struct fetched *f = arg;
    if (level >= 64 || index >= f->count >> level)
        return ERR_NOT_FOUND;
    memcpy(ret, f->node[level][index], HASH_LEN);
    return 0;
}

static int read_entry(void *arg, uint64_t index, struct bytes *ret_view)
{
    const struct fetched *f = arg;
    if (index >= f->count)
        return ERR_NOT_FOUND;
    *ret_view = f->entries[index];
    return 0;
}

static int keep_entry(struct fetched *f, struct bytes entry, struct err *err)
{
    uint8_t *copy = malloc(entry.len + 1);
    if (copy == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    memcpy(copy, entry.p, entry.len);
    f->entries[f->count++] = BYTES(copy, entry.len);
    return 0;
}

static int fetch_some(const char *socket, struct fetched *f, uint64_t size, struct err *err)
{
    struct message question = {.type = MESSAGE_ENTRIES_GET, .entries_get = {.from = f->count, .count = FETCH_COUNT}};
    struct message *answer = NULL;
    TRY(control_ask(socket, &question, MESSAGE_ENTRIES, &answer, err));
    int rc = answer->entries.from != f->count || answer->entries.entries.count == 0
                 ? err_set(err, ERR_INTEGRITY, "the node does not give entry %llu", (unsigned long long)f->count)
                 : 0;
    for (size_t i = 0; rc == 0 && i < answer->entries.entries.count && f->count < size; i++)
        rc = keep_entry(f, answer->entries.entries.at[i].entry, err);
    message_free(answer);
    return rc;
}

/* The first checkpoint decides how much is exported: entries that come later do not matter. */
static int fetch_head(const char *socket, struct buf *ret_note, uint64_t *ret_size, struct err *err)
{
    struct message question = {.type = MESSAGE_ENTRIES_GET, .entries_get = {.from = 0, .count = 1}};
    struct message *answer = NULL;
    struct checkpoint c;
    struct bytes text;
    TRY(control_ask(socket, &question, MESSAGE_ENTRIES, &answer, err));
    buf_put(ret_note, answer->entries.checkpoint);
    message_free(answer);
    TRY(note_text(buf_view(ret_note), &text, err));
    TRY(checkpoint_parse(text, &c, err));
    if (c.size > LEDGER_ENTRIES_MAX)
        return err_set(err, ERR_TOO_LONG,
                       "%llu entries are too many to fetch: stop the node and use enfilade-node export",
                       (unsigned long long)c.size);
    *ret_size = c.size;
    return 0;
}

static int export_running(const char *socket, const char *folder, struct err *err)
{
    struct fetched f = {.count = 0};
    struct merkle_range range;
    struct buf checkpoint;
    uint64_t size = 0;
    buf_init(&checkpoint, CHECKPOINT_MAX);
    int rc = fetch_head(socket, &checkpoint, &size, err);
    if (rc == 0) {
        f.entries = calloc(size + 1, sizeof(*f.entries));
        rc = f.entries != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
    }
    while (rc == 0 && f.count < size)
        rc = fetch_some(socket, &f, size, err);
    merkle_range_init(&range);
    for (uint64_t i = 0; rc == 0 && i < size; i++) {
        uint8_t leaf[HASH_LEN];
        merkle_leaf(f.entries[i], leaf);
        merkle_range_append(&range, leaf, on_node, &f);
    }
    if (rc == 0 && f.out_of_memory)
        rc = err_set(err, ERR_NOMEM, "out of memory");
    struct tiles_source source = {read_node, read_entry, &f};
    if (rc == 0)
        rc = tiles_write(folder, &source, size, buf_view(&checkpoint), err);
    fetched_done(&f);
    buf_done(&checkpoint);
    return rc;
}

static int export_stored(const char *config, const char *folder, struct err *err)
{
    char program[CLI_PROGRAM_MAX];
    const char *words[] = {cli_program("enfilade-node", program), "export", "--config", config, "--out", folder};
    char *argv[7] = {NULL};
    int rc = 0;
    for (size_t i = 0; i < 6; i++) {
        argv[i] = strdup(words[i]);
        rc = argv[i] == NULL ? err_set(err, ERR_NOMEM, "out of memory") : rc;
    }
    if (rc == 0)
        rc = cli_run_program(argv, err);
    for (size_t i = 0; i < 6; i++)
        free(argv[i]);
    return rc;
}

int ledger_export(const struct client_node *node, const char *folder, struct err *err)
{
    struct err stored = {0}, running = {0};
    if (node->config == NULL && node->control == NULL)
        return err_set(err, ERR_CONFIG, "neither control socket nor node.yaml of %s is configured", node->node);
    if (node->config != NULL && export_stored(node->config, folder, &stored) == 0)
        return 0;
    if (node->control != NULL && export_running(node->control, folder, &running) == 0)
        return 0;
    if (running.code == ERR_INTEGRITY)
        return err_set(err, ERR_INTEGRITY, "%s", running.text);
    return err_set(err, ERR_UNAVAILABLE, "%s: %s%s%s", node->node, stored.text,
                   stored.code != 0 && running.code != 0 ? "; " : "", running.text);
}
