/* token_bench: releases per second of a SoftHSM tokend with one worker and with two, over the real socket. */
#include "node/token/ask.h"
#include "tests/lib/token_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define IN_FLIGHT 32
#define DEADLINE_MS 30000

struct bench {
    uv_loop_t loop;
    struct ask *ask;
    struct world_request request;
    unsigned want, asked, answered, failed;
    uint64_t from_ns, to_ns;
};

static void top_up(struct bench *b);

static void on_answer(void *arg, const struct message *reply, const struct err *err)
{
    struct bench *b = arg;
    if (reply == NULL) {
        b->failed++;
        (void)fprintf(stderr, "%s\n", err->text);
    }
    b->answered++;
    if (b->answered < b->want) {
        top_up(b);
        return;
    }
    b->to_ns = uv_hrtime();
    ask_stop(b->ask, NULL, NULL);
}

static void top_up(struct bench *b)
{
    struct token *t = ask_token(b->ask);
    while (b->asked < b->want && b->asked - b->answered < IN_FLIGHT) {
        if (t->ask(t, &b->request.m, DEADLINE_MS, on_answer, b) != 0)
            return;
        b->asked++;
    }
}

static void run(struct token_world *w, struct bench *b, unsigned want)
{
    struct err err = {0};
    memset(b, 0, sizeof(*b));
    b->want = want;
    token_world_request(w, &b->request);
    if (uv_loop_init(&b->loop) != 0 || ask_start(&b->loop, w->socket, (unsigned)geteuid(), &b->ask, &err) != 0)
        abort();
    b->from_ns = uv_hrtime();
    top_up(b);
    (void)uv_run(&b->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&b->loop);
}

/* The start of the workers is in the figure: make the run long enough. */
static double measure(const char *program, unsigned workers, unsigned want)
{
    struct token_world w;
    struct bench b;
    token_world_new(&w, program, workers);
    token_world_init(&w);
    token_world_start(&w);
    run(&w, &b, want);
    double rate = (double)want / ((double)(b.to_ns - b.from_ns) / 1e9);
    (void)printf("%u worker%s: %6.0f releases/s (%u releases, 2 members before, 2 after, %u failed)\n", workers,
                 workers == 1 ? "" : "s", rate, want, b.failed);
    token_world_stop(&w);
    token_world_free(&w);
    return rate;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (argc < 2 || argc > 3) {
        (void)fputs("usage: token_bench ENFILADE-TOKEND [RELEASES]\n", stderr);
        return EXIT_USAGE;
    }
    unsigned want = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 3000;
    if (want == 0 || secret_setup(&err) != 0)
        return EXIT_USAGE;
    double one = measure(argv[1], 1, want), two = measure(argv[1], 2, want);
    (void)printf("ratio %.2f\n", two / one);
    return EXIT_DONE;
}
