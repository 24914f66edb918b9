"""HMAC_DRBG of NIST SP 800-90A Rev. 1 §10.1.2, deterministic and without reseeding.

For deriving keys from a secret that two sides share; never a source of nonces (RFC 8995 §11.3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from brski.errors import LocalError

LEAST_ENTROPY_OCTETS: Final = 32  # the 256 bits of strength that SHA-256 and longer hashes support
MOST_OCTETS_A_REQUEST: Final = 1 << 16  # SP 800-90A Table 2: 2^19 bits

# by name: the function, and its block in octets
_HASHES: Final[Mapping[str, tuple[Callable[[bytes], hashlib._Hash], int]]] = {
    "sha256": (hashlib.sha256, 64),
    "sha384": (hashlib.sha384, 128),
    "sha512": (hashlib.sha512, 128),
}
_INNER: Final = bytes(octet ^ 0x36 for octet in range(256))
_OUTER: Final = bytes(octet ^ 0x5C for octet in range(256))


class _MAC:
    """HMAC under one key of a digest's size, laid out once: RFC 2104 §2, step by step.

    The generator computes two under each key and then has another one. The library's one-shot
    function takes twice as long; its results are the same (the NIST vectors tell).
    """

    __slots__ = ("_hash", "_inner", "_outer")

    def __init__(self, hash_name: str, key: bytes) -> None:
        self._hash, block = _HASHES[hash_name]
        padded = key.ljust(block, b"\x00")
        self._inner, self._outer = padded.translate(_INNER), padded.translate(_OUTER)

    def __call__(self, data: bytes) -> bytes:
        return self._hash(self._outer + self._hash(self._inner + data).digest()).digest()


class HMACDRBG:
    """One instantiated generator; every request moves it on.

    Shows no state when printed and cannot be pickled. The limit of 2^48 requests is not counted,
    since it cannot be reached.

    Args:
        hash_name: ``"sha256"``, ``"sha384"`` or ``"sha512"``.
        entropy: entropy_input, raw, 32 octets or more.
        nonce: joined to *entropy*; empty where the entropy input covers it.
        personalization: personalization_string, raw.

    Raises:
        LocalError: fewer than 32 octets of entropy and nonce together.

    SP 800-90A Rev. 1 §10.1.2.3.
    """

    __slots__ = ("_hash_name", "_key", "_mac", "_owed", "_v")

    def __init__(
        self, hash_name: str, entropy: bytes, nonce: bytes = b"", personalization: bytes = b""
    ) -> None:
        if len(entropy) + len(nonce) < LEAST_ENTROPY_OCTETS:
            raise LocalError("HMAC_DRBG needs 32 octets of entropy", section="SP 800-90A §8.6.7")
        octets = _HASHES[hash_name][0](b"").digest_size
        self._hash_name = hash_name
        self._key = bytes(octets)
        self._mac = _MAC(hash_name, self._key)
        self._v = b"\x01" * octets
        self._owed: bytes | None = None
        self._update(entropy + nonce + personalization)

    def generate(self, octets: int, additional: bytes = b"") -> bytes:
        """The next *octets* octets, 65536 at most in one request.

        The update that ends a request (step 6) is made when the next one begins, as nothing can be
        seen in between: a generator that is thrown away after one output saves two HMACs of seven.

        Raises:
            LocalError: a request for more than 65536 octets.

        SP 800-90A Rev. 1 §10.1.2.5.
        """
        if octets > MOST_OCTETS_A_REQUEST:
            raise LocalError(
                f"HMAC_DRBG gives {MOST_OCTETS_A_REQUEST} octets at most, not {octets}"
            )
        if self._owed is not None:
            self._update(self._owed)
        if additional:
            self._update(additional)
        output = b""
        while len(output) < octets:
            self._v = self._mac(self._v)
            output += self._v
        self._owed = additional
        return output[:octets]

    @property
    def state(self) -> tuple[bytes, bytes]:
        """K and V as they stand, secret: what a chip that is brought up is compared with."""
        return self._key, self._v

    def _update(self, data: bytes) -> None:
        """SP 800-90A Rev. 1 §10.1.2.2."""
        for separator in (b"\x00", b"\x01") if data else (b"\x00",):
            self._key = self._mac(self._v + separator + data)
            self._mac = _MAC(self._hash_name, self._key)
            self._v = self._mac(self._v)

    def __repr__(self) -> str:
        return f"HMACDRBG({self._hash_name!r}, hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a generator seeded with a secret is not pickled or copied")
