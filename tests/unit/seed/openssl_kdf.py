"""Derivation by the openssl program: the second implementation for profiles that are not in C.

Written from docs/derivation.md; imports nothing of ``brski``. KDFs are OpenSSL's providers, points
OpenSSL's curves; what is done here is to reduce an integer and to write an RFC 5915 private key.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

ORDERS = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-384": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,  # noqa: E501
}
CURVE_OIDS = {"P-256": "06082a8648ce3d030107", "P-384": "06052b81040022"}


@dataclass(frozen=True)
class OpenSSL:
    """One openssl program."""

    program: str

    def run(self, *arguments: str | Path, given: bytes = b"") -> bytes:
        command = [self.program, *map(str, arguments)]
        return subprocess.run(command, input=given, capture_output=True, check=True).stdout

    def kdf(self, octets: int, name: str, **options: str) -> bytes:
        """``openssl kdf``: *octets* raw octets."""
        pairs = [part for k, v in options.items() for part in ("-kdfopt", f"{k}:{v}")]
        return self.run("kdf", "-binary", "-keylen", str(octets), *pairs, name)

    def kdfa(self, digest: str, seed: bytes, chip_id: bytes, octets: int) -> bytes:
        """The first octets of 1024, so that the length field of SP 800-108 says 8192 bits."""
        stream = self.kdf(
            1024,
            "KBKDF",
            mode="COUNTER",
            mac="HMAC",
            digest=digest,
            hexkey=seed.hex(),
            hexsalt=b"IDevID".hex(),
            hexinfo=hashlib.sha256(chip_id).hexdigest(),
        )
        return stream[:octets]

    def tpm2(self, curve: str, seed: bytes, chip_id: bytes) -> int:
        """d of tpm2-p256 or tpm2-p384."""
        digest, octets = {"P-256": ("SHA256", 40), "P-384": ("SHA384", 56)}[curve]
        c = int.from_bytes(self.kdfa(digest, seed, chip_id, octets), "big")
        return c % (ORDERS[curve] - 1) + 1

    def spki_of_scalar(self, curve: str, d: int) -> bytes:
        """DER SubjectPublicKeyInfo of d times the base point."""
        size = (ORDERS[curve].bit_length() + 7) // 8
        oid = bytes.fromhex(CURVE_OIDS[curve])
        body = (
            bytes.fromhex("020101")
            + bytes([0x04, size])
            + d.to_bytes(size, "big")
            + bytes([0xA0, len(oid)])
            + oid
        )
        key = bytes([0x30, len(body)]) + body
        return self.run("ec", "-inform", "DER", "-pubout", "-outform", "DER", given=key)
