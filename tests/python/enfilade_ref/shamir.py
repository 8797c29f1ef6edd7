# shamir: k of m over GF(2^8), bytewise, polynomial 0x11b.
"""Plain and slow: this is a reference, not a dealer for production (it is not constant time)."""
from enfilade_ref.refuse import need

LENGTH = 32
SLOT_MAX = 16


def multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11B
        b >>= 1
    return product


def inverse(a):
    """a^254, by repeated multiplication."""
    need(a != 0, "shares", "zero has no inverse")
    out = 1
    for _ in range(254):
        out = multiply(out, a)
    return out


def check_x(xs, k):
    need(k >= 1, "shares", "need is 0")
    need(k <= len(xs) <= SLOT_MAX, "shares", f"{k} of {len(xs)}")
    need(all(1 <= x <= SLOT_MAX for x in xs), "shares", "x outside 1..16")
    need(len(set(xs)) == len(xs), "shares", "x twice")


def split(secret, k, xs, coefficients):
    """coefficients: k-1 strings of LENGTH bytes, the factors of x^1, x^2, …. Returns {x: share}."""
    check_x(xs, k)
    need(len(coefficients) == k - 1, "shares", "number of coefficients")
    need(all(len(text) == LENGTH for text in [secret, *coefficients]), "shares", "length")
    shares = {x: bytearray() for x in xs}
    for i, constant in enumerate(secret):
        polynomial = [constant] + [factor[i] for factor in coefficients]
        for x in xs:
            value = 0
            for coefficient in reversed(polynomial):
                value = multiply(value, x) ^ coefficient
            shares[x].append(value)
    return {x: bytes(y) for x, y in shares.items()}


def combine(shares):
    """{x: share} with exactly k shares -> the secret (the polynomial at 0)."""
    xs = list(shares)
    check_x(xs, len(xs))
    need(all(len(y) == LENGTH for y in shares.values()), "shares", "length")
    secret = bytearray(LENGTH)
    for x, y in shares.items():
        weight = 1
        for other in xs:
            if other != x:
                weight = multiply(weight, multiply(other, inverse(other ^ x)))
        for i in range(LENGTH):
            secret[i] ^= multiply(weight, y[i])
    return bytes(secret)
