/* walk_report: table and JSON of a walk. */
#include "orchestrator/cli/walk_report.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/cli/json.h"
#include <inttypes.h>
#include <stdio.h>

#define REPORT_MAX (16u * 1024u * 1024u)
#define SLOW_MS 1000.0

void walk_report_visit(void *arg, const struct enf_visit *v)
{
    struct walk_report *r = arg;
    if (r->count < WALK_VISITS_MAX)
        r->visits[r->count++] = *v;
    if (r->progress && v->result != 0 && v->result != ERR_CLOSED)
        fprintf(stderr, "enfilade: stage %s: %s: %s%s%s\n", v->stage, v->node, v->detail,
                v->denial_id[0] != '\0' ? ", denial " : "", v->denial_id);
    else if (r->progress && v->milliseconds > SLOW_MS)
        fprintf(stderr, "enfilade: stage %s: %s: done after %.0f ms\n", v->stage, v->node, v->milliseconds);
}

void walk_report_table(const struct walk_report *r)
{
    fprintf(stderr, "%-14s %-4s %-14s %-28s %9s %8s\n", "stage", "slot", "node", "factors or reason", "ms", "entry");
    for (size_t i = 0; i < r->count; i++) {
        const struct enf_visit *v = &r->visits[i];
        char entry[24] = "-";
        if (v->result == 0)
            snprintf(entry, sizeof(entry), "%" PRIu64, v->entry_index);
        fprintf(stderr, "%-14s %-4u %-14s %-28s %9.1f %8s\n", v->stage, v->slot, v->node,
                v->result == 0 ? v->detail : enf_error_name(v->result), v->milliseconds, entry);
    }
}

static void put_session(struct json *j, const struct walk_session *s)
{
    json_open(j, "sid_inputs", '{');
    json_hex(j, "eid", BYTES_OF(s->eid));
    json_hex(j, "client_key_hash", BYTES_OF(s->client_key_hash));
    json_hex(j, "client_nonce", BYTES_OF(s->client_nonce));
    json_hex(j, "chain_hash", BYTES_OF(s->chain_hash));
    json_close(j, '}');
    json_hex(j, "sid", BYTES_OF(s->sid));
}

static void put_visit(struct json *j, const struct enf_visit *v)
{
    json_open(j, NULL, '{');
    json_number(j, "stage", v->stage_number);
    json_number(j, "slot", v->slot);
    json_text(j, "node", v->node);
    json_decimal(j, "milliseconds", v->milliseconds);
    json_text(j, "result", enf_error_name(v->result));
    if (v->result == 0) {
        json_hex(j, "link_body", BYTES(v->link_body, v->link_body_len));
        json_hex(j, "entry", BYTES(v->entry, v->entry_len));
        json_bytes(j, "receipt", BYTES(v->receipt, v->receipt_len));
    }
    json_close(j, '}');
}

static void put_failure(struct json *j, const struct enf_visit *v)
{
    json_open(j, NULL, '{');
    json_text(j, "stage", v->stage);
    json_text(j, "node", v->node);
    json_text(j, "code", enf_error_name(v->result));
    json_text(j, "detail", v->detail);
    json_text(j, "denial_id", v->denial_id);
    json_close(j, '}');
}

static void put_failures(struct json *j, const struct walk_report *r)
{
    json_open(j, "failures", '[');
    for (size_t i = 0; i < r->count; i++) {
        if (r->visits[i].result != 0)
            put_failure(j, &r->visits[i]);
    }
    json_close(j, ']');
}

int walk_report_fail(const struct walk_report *r, const struct err *err, bool json)
{
    struct buf b;
    struct json j;
    if (!json)
        return cli_fail(err, false);
    buf_init(&b, REPORT_MAX);
    json_start(&j, &b);
    json_open(&j, NULL, '{');
    json_text(&j, "error", err_name(err->code));
    json_text(&j, "text", err->text);
    json_number(&j, "exit_code", (uint64_t)err_exit(err->code));
    put_failures(&j, r);
    json_close(&j, '}');
    const char *text = buf_cstr(&b);
    fprintf(stderr, "%s\n", text != NULL ? text : "{}");
    buf_done(&b);
    return (int)err_exit(err->code);
}

int walk_report_write(const struct walk_report *r, const struct enf *e, const char *operation, const struct err *result,
                      const char *path, struct err *err)
{
    struct buf b;
    struct json j;
    buf_init(&b, REPORT_MAX);
    json_start(&j, &b);
    json_open(&j, NULL, '{');
    json_number(&j, "version", 1);
    json_text(&j, "network", e->config->network);
    json_text(&j, "operation", operation);
    json_text(&j, "result", enf_error_name(result->code));
    json_text(&j, "text", result->text);
    json_number(&j, "exit_code", (uint64_t)enf_exit_code(result->code));
    if (e->chain != NULL)
        json_bytes(&j, "chain", e->chain->text);
    if (e->walk != NULL) {
        json_open(&j, "walk", '{');
        put_session(&j, walk_session(e->walk));
        json_open(&j, "visits", '[');
        for (size_t i = 0; i < r->count; i++)
            put_visit(&j, &r->visits[i]);
        json_close(&j, ']');
        json_close(&j, '}');
    }
    put_failures(&j, r);
    json_close(&j, '}');
    buf_str(&b, "\n");
    int rc = buf_ok(&b) ? file_write(path, buf_view(&b), 0644, err) : err_set(err, ERR_TOO_LONG, "report too long");
    buf_done(&b);
    return rc;
}
