/* log: one line per event on stderr, as text or JSON; only the owner of a loop or a main() calls it.
 *
 * Lines are bounded; control characters in values are escaped. Secrets never come here. */
#ifndef ENFILADE_BASE_LOG_H
#define ENFILADE_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_MAX 2048 /* bytes of one line, newline and NUL included; a longer text ends in "..." */

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Once, before there are threads. program: a literal, printable, without quotes. Before it: "enfilade", text, info. */
void log_setup(const char *program, bool json, enum log_level least);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The line that log_line would write at now_ms (pure). Text: "2026-11-24T19:00:00.123Z info  program: text". Bytes
 * outside printable ASCII become \xNN, in JSON \u00NN (control) or \\xNN. Returns its length, newline included. */
size_t log_format(enum log_level level, uint64_t now_ms, const char *text, char ret_line[LOG_LINE_MAX]);

#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
