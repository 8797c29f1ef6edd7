/* err: error codes and their words. */
#include "common/base/err.h"
#include <ctype.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct row {
    int code;
    const char *upper;
    enum err_advice advice;
    enum exit_code exit;
    const char *text;
};

#define ROW(name, wire, advice_, exit_, text_) {-(wire), #name, ADVICE_##advice_, EXIT_##exit_, text_},
static const struct row rows[] = {ERR_TABLE(ROW)};
#undef ROW
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static const struct row *find(int code)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (rows[i].code == code)
            return &rows[i];
    return NULL;
}

int err_set(struct err *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    va_list ap;
    va_start(ap, format);
    err->code = code;
    (void)vsnprintf(err->text, sizeof(err->text), format, ap);
    va_end(ap);
    return code;
}

int err_wrap(struct err *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    char old[ERR_TEXT_MAX], head[ERR_TEXT_MAX];
    bool had = err->code == code && err->text[0] != '\0';
    (void)snprintf(old, sizeof(old), "%s", had ? err->text : err_advice_text(code));
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(head, sizeof(head), format, ap);
    va_end(ap);
    err->code = code;
    size_t n = strlen(head);
    memcpy(err->text, head, n);
    size_t room = sizeof(err->text) - n; /* the oldest words are cut when it is too little */
    if (room > 3)
        (void)snprintf(err->text + n, room, ": %.*s", (int)(room - 3), old);
    else
        err->text[n] = '\0';
    return code;
}

static char names[ROW_COUNT][24];

static void make_names(void)
{
    for (size_t r = 0; r < ROW_COUNT; r++)
        for (size_t i = 0; rows[r].upper[i] != '\0' && i < sizeof(names[0]) - 1; i++)
            names[r][i] = rows[r].upper[i] == '_' ? '-' : (char)tolower((unsigned char)rows[r].upper[i]);
}

const char *err_name(int code)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_names);
    const struct row *row = find(code);
    if (row == NULL)
        return code == 0 ? "ok" : "unknown";
    return names[row - rows];
}

const char *err_advice_text(int code)
{
    const struct row *row = find(code);
    return row != NULL ? row->text : "unknown error";
}

enum err_advice err_advice(int code)
{
    const struct row *row = find(code);
    return row != NULL ? row->advice : ADVICE_NEVER;
}

enum exit_code err_exit(int code)
{
    const struct row *row = find(code);
    return row != NULL ? row->exit : code == 0 ? EXIT_DONE : EXIT_INTERNAL;
}

unsigned err_wire(int code)
{
    return code < 0 ? (unsigned)-code : 0;
}

int err_from_wire(unsigned wire)
{
    if (wire > 1000 || find(-(int)wire) == NULL)
        return ERR_INTERNAL;
    return -(int)wire;
}

int err_from_name(const char *name)
{
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (strcmp(err_name(rows[i].code), name) == 0)
            return rows[i].code;
    return 0;
}
