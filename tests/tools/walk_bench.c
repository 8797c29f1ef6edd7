/* walk_bench: walks of one operation through running nodes, warm (one `struct enf`) against cold (a new one each time).
 *
 *   walk_bench CLIENT.YAML OPERATION [COUNT]
 *
 * Prints the median milliseconds of both and their ratio. The first walk of each kind is not counted. */
#include "orchestrator/enfilade.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define COUNT_MAX 10000u

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int walk_once(struct enf *e, const char *operation)
{
    struct enf_secret *s = NULL;
    int rc = enf_unseal(e, operation, NULL, &s);
    if (rc == 0)
        enf_secret_free(s);
    else
        (void)fprintf(stderr, "walk_bench: %s\n", enf_error(e));
    return rc;
}

/* The median of `count` walks, or a negative number. */
static double measure(const char *config, const char *operation, unsigned count, int warm)
{
    static double ms[COUNT_MAX];
    struct enf *e = NULL;
    for (unsigned i = 0; i <= count; i++) {
        double from = now_ms();
        int rc = e == NULL ? enf_open(config, &e) : 0;
        if (rc == 0)
            rc = walk_once(e, operation);
        if (rc != 0 || !warm || i == count) {
            enf_close(e);
            e = NULL;
        }
        if (rc != 0)
            return -1;
        if (i > 0)
            ms[i - 1] = now_ms() - from;
    }
    qsort(ms, count, sizeof(ms[0]), by_value);
    return ms[count / 2];
}

int main(int argc, char **argv)
{
    unsigned long count = argc > 3 ? strtoul(argv[3], NULL, 10) : 50;
    if (argc < 3 || count == 0 || count > COUNT_MAX) {
        (void)fprintf(stderr, "usage: walk_bench CLIENT.YAML OPERATION [COUNT]\n");
        return 2;
    }
    double cold = measure(argv[1], argv[2], (unsigned)count, 0);
    double warm = cold >= 0 ? measure(argv[1], argv[2], (unsigned)count, 1) : -1;
    if (warm < 0)
        return 1;
    (void)printf("cold %.1f ms, warm %.1f ms, ratio %.2f (medians of %lu walks each)\n", cold, warm, cold / warm,
                 count);
    return 0;
}
