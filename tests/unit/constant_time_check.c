/* constant_time_check: under valgrind, does any branch or address depend on a secret?
 *
 * Secrets are marked undefined, so that memcheck reports every jump and every address made from one (the way of
 * ctgrind). Without an argument nothing may be reported; with "branch" or "table" a secret decides one, and it must be
 * reported. Results that are public by design (equal or not) are declared defined again. Deterministic, unlike any
 * measurement. */
#include "common/crypto/shamir.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

static int fill(void *arg, uint8_t *out, size_t len)
{
    (void)arg;
    memset(out, 0x5a, len);
    VALGRIND_MAKE_MEM_UNDEFINED(out, len);
    return 0;
}

static struct secret *hidden(size_t len, uint8_t value)
{
    struct secret *s = NULL;
    int rc = secret_new(len, &s);
    assert(rc == 0);
    memset(secret_write(s), value, len);
    VALGRIND_MAKE_MEM_UNDEFINED(secret_write(s), len);
    return s;
}

static void shared_and_combined(void)
{
    static const uint8_t x[5] = {1, 2, 5, 9, 16};
    struct secret *secret = hidden(SHAMIR_LEN, 0xc3), *y[5], *again = NULL;
    int rc = shamir_split(secret, 3, x, 5, (struct rng){.fill = fill}, y);
    assert(rc == 0);
    rc = shamir_combine(x + 1, y + 1, 3, &again);
    assert(rc == 0);
    bool same = secret_equal(secret, again);
    VALGRIND_MAKE_MEM_DEFINED(&same, sizeof(same));
    assert(same);
    for (size_t i = 0; i < 5; i++)
        secret_free(y[i]);
    secret_free(secret);
    secret_free(again);
}

static void compared(void)
{
    struct secret *a = hidden(64, 0x11), *b = hidden(64, 0x11), *c = hidden(64, 0x12);
    bool equal = secret_equal(a, b), other = bytes_equal(secret_borrow(a), secret_borrow(c));
    bool zero = bytes_is_zero(secret_borrow(a));
    VALGRIND_MAKE_MEM_DEFINED(&equal, sizeof(equal));
    VALGRIND_MAKE_MEM_DEFINED(&other, sizeof(other));
    VALGRIND_MAKE_MEM_DEFINED(&zero, sizeof(zero));
    assert(equal && !other && !zero);
    secret_free(a);
    secret_free(b);
    secret_free(c);
}

static void leak(bool by_table)
{
    static const volatile char table[256] = {0};
    struct secret *s = hidden(32, 7);
    const uint8_t *p = secret_borrow(s).p;
    if (by_table)
        (void)table[p[3]];
    else if (p[3] == 7)
        puts("seven");
    secret_free(s);
}

int main(int argc, char **argv)
{
    if (RUNNING_ON_VALGRIND == 0) {
        fputs("constant_time_check: says nothing without valgrind\n", stderr);
        return 2;
    }
    if (argc > 1)
        leak(strcmp(argv[1], "table") == 0);
    else {
        shared_and_combined();
        compared();
    }
    return 0;
}
