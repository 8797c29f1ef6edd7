/* api: enfilade.h, the public interface, over the modules of this folder. */
#include "orchestrator/enfilade.h"
#include "orchestrator/open.h"
#include <stdlib.h>
#include <string.h>

struct enf_secret {
    struct secret *secret;
    size_t used;
};

static _Thread_local struct err open_err; /* why the last enf_open of this thread failed */

int enf_open(const char *config_path, struct enf **ret)
{
    open_err = (struct err){0};
    int rc = open_new(config_path, ret, &open_err);
    if (rc != 0 && open_err.code == 0)
        err_set(&open_err, rc, "%s", err_advice_text(rc));
    return rc;
}

void enf_close(struct enf *e)
{
    open_free(e);
}

void enf_observe(struct enf *e, enf_observer observer, void *arg)
{
    e->observer = observer;
    e->observer_arg = arg;
}

static int secret_begin(void *arg, uint64_t plain_len)
{
    struct enf_secret *s = arg;
    if (plain_len > SECRET_MAX)
        return ERR_TOO_LONG;
    return secret_new((size_t)plain_len, &s->secret);
}

static int secret_piece(void *arg, struct bytes piece)
{
    struct enf_secret *s = arg;
    if (piece.len > secret_len(s->secret) - s->used)
        return ERR_TOO_LONG;
    if (piece.len > 0)
        memcpy(secret_write(s->secret) + s->used, piece.p, piece.len);
    s->used += piece.len;
    return 0;
}

int enf_unseal(struct enf *e, const char *operation, const char *chain_path, struct enf_secret **ret)
{
    e->err = (struct err){0};
    struct enf_secret *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return err_set(&e->err, ERR_NOMEM, "out of memory");
    int rc = open_unseal(e, operation, chain_path, secret_begin, secret_piece, s, &e->err);
    if (rc != 0) {
        enf_secret_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

const void *enf_secret_data(const struct enf_secret *s)
{
    return secret_borrow(s->secret).p;
}

size_t enf_secret_len(const struct enf_secret *s)
{
    return s->used;
}

void enf_secret_free(struct enf_secret *s)
{
    if (s == NULL)
        return;
    secret_free(s->secret);
    free(s);
}

const char *enf_error(const struct enf *e)
{
    return e != NULL ? e->err.text : open_err.text;
}

const char *enf_error_name(int code)
{
    return code == 0 ? "ok" : err_name(code);
}

int enf_exit_code(int code)
{
    return code == 0 ? EXIT_DONE : (int)err_exit(code);
}
