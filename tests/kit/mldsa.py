"""ML-DSA key generation and verification in plain Python, written from FIPS 204: a second opinion.

No library on the systems that run these tests has ML-DSA but the one below ``cryptography``, so
what that one signs and derives is checked here. Slow, not constant in time; for tests alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Q, N, D = 8380417, 256, 13  # FIPS 204 §4
Poly = list[int]


@dataclass(frozen=True)
class Parameters:
    """FIPS 204 §4, table 1."""

    k: int
    l: int  # noqa: E741 - the standard's name
    eta: int
    tau: int
    gamma1: int
    gamma2: int
    omega: int
    strength: int

    @property
    def beta(self) -> int:
        return self.tau * self.eta


PARAMETERS = {
    44: Parameters(4, 4, 2, 39, 1 << 17, (Q - 1) // 88, 80, 128),
    65: Parameters(6, 5, 4, 49, 1 << 19, (Q - 1) // 32, 55, 192),
    87: Parameters(8, 7, 2, 60, 1 << 19, (Q - 1) // 32, 75, 256),
}
ZETAS = [pow(1753, int(f"{i:08b}"[::-1], 2), Q) for i in range(N)]


def shake256(octets: bytes, length: int) -> bytes:
    return hashlib.shake_256(octets).digest(length)


# -- §7.5: number-theoretic transform


def ntt(poly: Poly) -> Poly:
    """Algorithm 41."""
    w, m, length = list(poly), 0, 128
    while length:
        for start in range(0, N, 2 * length):
            m += 1
            for j in range(start, start + length):
                t = ZETAS[m] * w[j + length] % Q
                w[j + length], w[j] = (w[j] - t) % Q, (w[j] + t) % Q
        length //= 2
    return w


def inverse_ntt(poly: Poly) -> Poly:
    """Algorithm 42."""
    w, m, length = list(poly), N, 1
    while length < N:
        for start in range(0, N, 2 * length):
            m -= 1
            for j in range(start, start + length):
                t = w[j]
                w[j] = (t + w[j + length]) % Q
                w[j + length] = -ZETAS[m] * (t - w[j + length]) % Q
        length *= 2
    return [8347681 * x % Q for x in w]


def add(first: Poly, second: Poly) -> Poly:
    return [(a + b) % Q for a, b in zip(first, second, strict=True)]


def times(first: Poly, second: Poly) -> Poly:
    return [a * b % Q for a, b in zip(first, second, strict=True)]


def dot(row: Sequence[Poly], vector: Sequence[Poly]) -> Poly:
    total = [0] * N
    for a, b in zip(row, vector, strict=True):
        total = add(total, times(a, b))
    return total


# -- §7.1: packing


def pack(values: Iterable[int], bits: int) -> bytes:
    number = sum(value << bits * i for i, value in enumerate(values))
    return number.to_bytes(N * bits // 8, "little")


def unpack(octets: bytes, bits: int) -> Poly:
    number = int.from_bytes(octets, "little")
    return [number >> bits * i & (1 << bits) - 1 for i in range(N)]


# -- §7.3: sampling


def expand_a(rho: bytes, p: Parameters) -> list[list[Poly]]:
    """Algorithm 32."""
    return [[reject_ntt(rho + bytes((s, r))) for s in range(p.l)] for r in range(p.k)]


def reject_ntt(seed: bytes) -> Poly:
    """Algorithm 30, from more of the stream than it ever needs."""
    stream = hashlib.shake_128(seed).digest(3 * 512)
    taken = (
        stream[i] | stream[i + 1] << 8 | (stream[i + 2] & 0x7F) << 16
        for i in range(0, len(stream), 3)
    )
    return [value for value in taken if value < Q][:N]


def reject_bounded(seed: bytes, eta: int) -> Poly:
    """Algorithm 31."""
    stream = shake256(seed, 1024)
    halves = (half for octet in stream for half in (octet & 15, octet >> 4))
    if eta == 2:
        found = [2 - half % 5 for half in halves if half < 15]
    else:
        found = [4 - half for half in halves if half < 9]
    return found[:N]


def sample_in_ball(seed: bytes, tau: int) -> Poly:
    """Algorithm 29."""
    stream = shake256(seed, 2048)
    signs, at = int.from_bytes(stream[:8], "little"), 8
    c = [0] * N
    for i in range(N - tau, N):
        while stream[at] > i:
            at += 1
        j, at = stream[at], at + 1
        c[i], c[j] = c[j], 1 - 2 * (signs >> (i + tau - N) & 1)
    return c


# -- §7.4: rounding and hints


def centered(value: int, modulus: int) -> int:
    """mod±"""
    value %= modulus
    return value - modulus if value > modulus // 2 else value


def use_hint(hint: int, value: int, gamma2: int) -> int:
    """Algorithms 36 and 40."""
    low = centered(value % Q, 2 * gamma2)
    high = (value % Q - low) // (2 * gamma2)
    if value % Q - low == Q - 1:
        high, low = 0, low - 1
    if not hint:
        return high
    return (high + (1 if low > 0 else -1)) % ((Q - 1) // (2 * gamma2))


def unpack_hints(octets: bytes, p: Parameters) -> list[Poly] | None:
    """Algorithm 21."""
    hints, index = [[0] * N for _ in range(p.k)], 0
    for i in range(p.k):
        first, end = index, octets[p.omega + i]
        if not index <= end <= p.omega:
            return None
        for index in range(first, end):
            if index > first and octets[index - 1] >= octets[index]:
                return None
            hints[i][octets[index]] = 1
        index = end
    return hints if not any(octets[index : p.omega]) else None


# -- §5, §6: the algorithms


def public_key(size: int, xi: bytes) -> bytes:
    """ML-DSA.KeyGen_internal, algorithm 6; the raw public key."""
    p = PARAMETERS[size]
    expanded = shake256(xi + bytes((p.k, p.l)), 128)
    rho, rho_prime = expanded[:32], expanded[32:96]
    secret = [reject_bounded(rho_prime + r.to_bytes(2, "little"), p.eta) for r in range(p.l + p.k)]
    s1 = [ntt(poly) for poly in secret[: p.l]]
    packed = rho
    for row, s2 in zip(expand_a(rho, p), secret[p.l :], strict=True):
        t = add(inverse_ntt(dot(row, s1)), s2)
        packed += pack(((value - centered(value, 1 << D)) >> D for value in t), 10)
    return packed


def verifies(size: int, key: bytes, message: bytes, signature: bytes, context: bytes = b"") -> bool:
    """ML-DSA.Verify, algorithms 3 and 8; *key* is raw."""
    p = PARAMETERS[size]
    challenge = signature[: p.strength // 4]
    bits = p.gamma1.bit_length()  # 18 or 20: of 2 * gamma1 - 1
    width = N * bits // 8
    at = len(challenge)
    z = [
        [p.gamma1 - x for x in unpack(signature[at + i * width : at + (i + 1) * width], bits)]
        for i in range(p.l)
    ]
    hints = unpack_hints(signature[at + p.l * width :], p)
    sized = len(signature) == at + p.l * width + p.omega + p.k
    if hints is None or not sized or any(abs(x) >= p.gamma1 - p.beta for poly in z for x in poly):
        return False
    framed = b"\x00" + bytes((len(context),)) + context + message
    mu = shake256(shake256(key, 64) + framed, 64)
    c, z_ntt = ntt(sample_in_ball(challenge, p.tau)), [ntt(poly) for poly in z]
    w1_bits = ((Q - 1) // (2 * p.gamma2) - 1).bit_length()
    w1 = b""
    for i, row in enumerate(expand_a(key[:32], p)):
        t1 = unpack(key[32 + 320 * i : 352 + 320 * i], 10)
        minus = times(c, ntt([-(value << D) for value in t1]))
        w = inverse_ntt(add(dot(row, z_ntt), minus))
        w1 += pack((use_hint(h, x, p.gamma2) for h, x in zip(hints[i], w, strict=True)), w1_bits)
    return shake256(mu + w1, p.strength // 4) == challenge
