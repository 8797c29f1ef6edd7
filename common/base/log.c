/* log: one bounded line per event on stderr. */
#include "common/base/log.h"
#include "common/base/clock.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
    const char *program;
    bool json;
    enum log_level least;
} setup = {.program = "enfilade", .json = false, .least = LOG_LEVEL_INFO};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(const char *program, bool json, enum log_level least)
{
    setup.program = program;
    setup.json = json;
    setup.least = least;
}

/* One character of a value, made harmless. Returns how many bytes were written (at most 6). */
static size_t escape(unsigned char c, bool json, char *out)
{
    static const char digits[] = "0123456789abcdef";
    if (c >= 0x20 && c < 0x7f && !(json && (c == '"' || c == '\\'))) {
        out[0] = (char)c;
        return 1;
    }
    if (c >= 0x20 && c < 0x7f) { /* JSON's own two */
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    const char *head = json ? (c < 0x20 ? "\\u00" : "\\\\x") : "\\x";
    size_t n = strlen(head);
    memcpy(out, head, n);
    out[n] = digits[c >> 4];
    out[n + 1] = digits[c & 15];
    return n + 2;
}

size_t log_format(enum log_level level, uint64_t now_ms, const char *text, char ret_line[LOG_LINE_MAX])
{
    char time[CLOCK_TEXT_LEN + 1];
    clock_text(now_ms, time);
    const char *shape = setup.json ? "{\"time\":\"%.19s.%03uZ\",\"level\":\"%s\",\"program\":\"%.40s\",\"text\":\""
                                   : "%.19s.%03uZ %-5s %.40s: ";
    int head =
        snprintf(ret_line, LOG_LINE_MAX, shape, time, (unsigned)(now_ms % 1000), level_names[level], setup.program);
    size_t n = head > 0 ? (size_t)head : 0;
    for (; *text != '\0'; text++) {
        if (n + 6 + sizeof("...\"}\n") > LOG_LINE_MAX) {
            memcpy(ret_line + n, "...", 3);
            n += 3;
            break;
        }
        n += escape((unsigned char)*text, setup.json, ret_line + n);
    }
    const char *tail = setup.json ? "\"}\n" : "\n";
    memcpy(ret_line + n, tail, strlen(tail) + 1);
    return n + strlen(tail);
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level < setup.least)
        return;
    char text[LOG_LINE_MAX], line[LOG_LINE_MAX];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (n < 0)
        return;
    struct clock clock = clock_system();
    size_t len = log_format(level, clock.now_ms(clock.arg), text, line);
    /* One write a line, so that lines of several threads do not mix. A log that cannot be written has nowhere to say
     * so. */
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written;
}
