/* intake: reads, opens and shelves documents without holding up the loop.
 *
 *   waiting ── READING ──┬── OPENING ──┐   for each: judges from the shelf, opened in a worker, offered to the shelf
 *              a worker  │   a worker  │
 *                        └─────◄───────┘── done */
#include "node/intake.h"
#include "node/notes.h"
#include "node/papers.h"
#include <stdlib.h>
#include <string.h>

struct intake {
    struct worker_job job;
    struct node *node;
    const char *folder; /* of the configuration, or NULL */
    struct notes notes;
    size_t next_note;
    struct shelf_judges judges; /* of the note that is being opened */
    struct document *opened;
    const struct document *opened_by;     /* one of judges' policies */
    struct err read_err, open_err, first; /* first: what is told */
    unsigned accepted;
    intake_done done; /* NULL: detached */
    void *arg;
    struct intake *next; /* in node->papers.intakes */
};

static int start(struct intake *i);

static void intake_free(struct intake *i)
{
    notes_done(&i->notes);
    free(i);
}

/* It stays the first in the list while done runs, which may offer again. */
static void finish(struct intake *i)
{
    struct node *n = i->node;
    if (i->done != NULL)
        i->done(i->arg, i->accepted, i->first.code != 0 ? &i->first : NULL);
    n->papers.intakes = i->next;
    intake_free(i);
    if (n->papers.intakes != NULL && start(n->papers.intakes) != 0)
        finish(n->papers.intakes);
}

static void note_error(struct intake *i, const struct err *err)
{
    if (i->first.code == 0)
        i->first = *err;
}

/* ---- one document after the other */

static void step(struct intake *i);

static void open_run(struct worker_job *job)
{
    struct intake *i = (struct intake *)job;
    const struct note_item *item = &i->notes.at[i->next_note];
    int rc = shelf_judges_open(&i->judges, item->text, item->source, &i->opened, &i->opened_by, &i->open_err);
    if (rc != 0 && i->open_err.code == 0)
        (void)err_set(&i->open_err, rc, "%s: %s", item->source, err_advice_text(rc));
}

static void open_done(struct worker_job *job, bool cancelled)
{
    struct intake *i = (struct intake *)job;
    const struct note_item *item = &i->notes.at[i->next_note];
    if (i->open_err.code != 0)
        note_error(i, &i->open_err);
    else if (!cancelled)
        i->accepted += papers_shelve(i->node, i->opened, &i->judges, i->opened_by, item->source, &i->first);
    shelf_judges_done(&i->judges);
    document_unref(i->opened);
    i->opened = NULL;
    i->next_note++;
    if (cancelled)
        finish(i);
    else
        step(i);
}

/* The very same bytes. */
static bool is_held(const struct intake *i, const struct note_item *item)
{
    const struct document *d = shelf_find_hash(i->node->shelf, item->claim.type, item->hash);
    return d != NULL && bytes_equal(d->note, item->text);
}

static void step(struct intake *i)
{
    for (; i->next_note < i->notes.count; i->next_note++) {
        const struct note_item *item = &i->notes.at[i->next_note];
        i->open_err = (struct err){.code = 0};
        i->opened_by = NULL;
        if (is_held(i, item) || !shelf_judges(i->node->shelf, &item->claim, item->hash, &i->judges))
            continue; /* we have it, or a newer one */
        i->job = (struct worker_job){.run = open_run, .done = open_done};
        if (worker_submit(i->node->workers, &i->job) == 0)
            return;
        shelf_judges_done(&i->judges);
        (void)err_set(&i->open_err, ERR_BUSY, "%s: too busy to read it", item->source);
        note_error(i, &i->open_err);
    }
    finish(i);
}

/* ---- reading and sorting */

static void read_run(struct worker_job *job)
{
    struct intake *i = (struct intake *)job;
    if (i->folder != NULL && notes_read_folder(&i->notes, i->folder, &i->read_err) != 0)
        return;
    notes_sort(&i->notes, &i->read_err);
}

static void read_done(struct worker_job *job, bool cancelled)
{
    struct intake *i = (struct intake *)job;
    if (i->read_err.code != 0)
        note_error(i, &i->read_err);
    if (cancelled || (i->read_err.code != 0 && i->folder != NULL && i->notes.count == 0))
        finish(i);
    else
        step(i);
}

static int start(struct intake *i)
{
    i->job = (struct worker_job){.run = read_run, .done = read_done};
    if (worker_submit(i->node->workers, &i->job) == 0)
        return 0;
    return err_set(&i->first, ERR_BUSY, "too busy to read documents");
}

/* ---- offering */

static struct intake *intake_new(struct node *n, intake_done done, void *arg)
{
    struct intake *i = calloc(1, sizeof(*i));
    if (i != NULL) {
        i->node = n;
        i->done = done;
        i->arg = arg;
    }
    return i;
}

/* Behind those that wait already. Frees i when it cannot be. */
static int enqueue(struct intake *i)
{
    struct intake **last = &i->node->papers.intakes;
    while (*last != NULL)
        last = &(*last)->next;
    int rc = last == &i->node->papers.intakes ? start(i) : 0;
    if (rc == 0)
        *last = i;
    else
        intake_free(i);
    return rc;
}

int intake_offer(struct node *n, const struct msg_note *notes, size_t count, const char *source, intake_done done,
                 void *arg, struct intake **ret)
{
    struct intake *i = intake_new(n, done, arg);
    if (i == NULL)
        return ERR_NOMEM;
    int rc = 0;
    for (size_t k = 0; k < count && rc == 0; k++)
        rc = notes_add(&i->notes, notes[k].text, source);
    if (rc != 0) {
        intake_free(i);
        return rc;
    }
    TRY(enqueue(i));
    *ret = i;
    return 0;
}

int intake_folder(struct node *n, intake_done done, void *arg)
{
    if (n->config->documents == NULL)
        return ERR_NOT_FOUND;
    struct intake *i = intake_new(n, done, arg);
    if (i == NULL)
        return ERR_NOMEM;
    i->folder = n->config->documents;
    return enqueue(i);
}

void intake_detach(struct intake *i)
{
    i->done = NULL;
}
