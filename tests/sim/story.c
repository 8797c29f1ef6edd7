/* story: worlds for stories, and reading the trace. */
#include "tests/sim/story.h"

struct sim *story_world(unsigned nodes)
{
    struct sim *s = sim_new(1, false);
    for (unsigned i = 0; i < nodes; i++)
        sim_node_start(s->node[i]);
    sim_run(s, 300);
    for (unsigned i = 0; i < nodes; i++)
        if (!sim_node_serves(s->node[i]))
            story_fail(s, "a node does not serve");
    return s;
}

void story_fail(struct sim *s, const char *why)
{
    fail_msg("%s\n%.*s", why, (int)s->trace.len, (const char *)s->trace.p);
}

void story_end(struct sim *s)
{
    for (unsigned i = 0; i < SIM_NODES; i++)
        oracle_judge(s->oracle, s->node[i]);
    if (s->violations > 0)
        story_fail(s, s->why);
    sim_free(s);
}

/* The next line of the trace without its time; false at the end. */
static bool next_line(const struct sim *s, size_t *at, char ret[600])
{
    if (*at >= s->trace.len)
        return false;
    const char *line = (const char *)s->trace.p + *at;
    size_t len = (size_t)((const char *)memchr(line, '\n', s->trace.len - *at) - line);
    const char *text = memchr(line, ']', len);
    *at += len + 1;
    (void)snprintf(ret, 600, "%.*s", (int)(len - (size_t)(text + 2 - line)), text + 2);
    return true;
}

void story_is(struct sim *s, size_t from, const char *const *lines)
{
    char line[600], why[1400];
    size_t i = 0;
    while (next_line(s, &from, line)) {
        if (lines[i] == NULL || strcmp(line, lines[i]) != 0) {
            (void)snprintf(why, sizeof(why), "line %zu is \"%s\" instead of \"%s\"", i + 1, line,
                           lines[i] != NULL ? lines[i] : "(the end)");
            story_fail(s, why);
        }
        i++;
    }
    if (lines[i] != NULL)
        story_fail(s, lines[i]);
}

void story_tells(struct sim *s, size_t from, const char *const *lines)
{
    char line[600], why[700];
    while (*lines != NULL && next_line(s, &from, line))
        lines += strcmp(line, *lines) == 0;
    if (*lines == NULL)
        return;
    (void)snprintf(why, sizeof(why), "the story does not tell \"%s\", or not there", *lines);
    story_fail(s, why);
}
