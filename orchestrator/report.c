/* report: a list of visits with their strings. */
#include "orchestrator/report.h"
#include "orchestrator/words.h"
#include <stdlib.h>
#include <string.h>

#define DENIAL_ID_MAX 64

struct report_entry {
    struct report_entry *next;
    struct enf_visit visit;
    name_text stage, node;
    char detail[ERR_TEXT_MAX], denial_id[2 * DENIAL_ID_MAX + 1];
};

void report_init(struct report *r, enf_observer observer, void *arg)
{
    *r = (struct report){.observer = observer, .arg = arg};
}

void report_done(struct report *r)
{
    while (r->first != NULL) {
        struct report_entry *next = r->first->next;
        free(r->first);
        r->first = next;
    }
    r->last = NULL;
}

static void fill(struct report_entry *e, const struct enf_visit *v, struct bytes denial_id, const struct harvested *g)
{
    e->visit = *v;
    words_copy(e->stage, sizeof(e->stage), v->stage);
    words_copy(e->node, sizeof(e->node), v->node);
    words_copy(e->detail, sizeof(e->detail), v->detail);
    if (denial_id.len <= DENIAL_ID_MAX)
        hex_encode(denial_id, e->denial_id);
    e->visit.stage = e->stage;
    e->visit.node = e->node;
    e->visit.detail = e->detail;
    e->visit.denial_id = e->denial_id;
    if (g == NULL)
        return;
    e->visit.entry_index = g->entry_index;
    e->visit.link_body = g->body.p;
    e->visit.link_body_len = g->body.len;
    e->visit.entry = g->entry.p;
    e->visit.entry_len = g->entry.len;
    e->visit.receipt = (const char *)g->receipt.p;
    e->visit.receipt_len = g->receipt.len;
}

void report_add(struct report *r, const struct enf_visit *v, struct bytes denial_id, const struct harvested *g)
{
    struct report_entry *e = calloc(1, sizeof(*e));
    struct report_entry spare = {0};
    fill(e != NULL ? e : &spare, v, denial_id, g);
    if (r->observer != NULL)
        r->observer(r->arg, e != NULL ? &e->visit : &spare.visit);
    if (e == NULL)
        return;
    if (r->last != NULL)
        r->last->next = e;
    else
        r->first = e;
    r->last = e;
}
