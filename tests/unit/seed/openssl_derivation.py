"""Derivation by the openssl program: the second implementation for profiles that are not in C.

Written from docs/derivation.md; imports nothing of ``brski``. KDFs are OpenSSL's providers, points
OpenSSL's curves; what is done here is to reduce an integer and to write private keys as DER.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.kit import mldsa

ORDERS = {
    "P-256": int("FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551", 16),
    "P-384": int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
        "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
        16,
    ),
}
CURVE_OIDS = {"P-256": "06082a8648ce3d030107", "P-384": "06052b81040022"}
ASYM_SALT = (
    "63B6A04D2C077FC10F639F21DA793844356CC2B0B441B3A77124035C03F8E1BE"
    "6035D31F282821A7450A02222AB1B3CFF1679B05AB1CA5D1AFFB789CCD2B0B3B"
)
TPM2 = {"tpm2-p256": ("P-256", "SHA256", 40), "tpm2-p384": ("P-384", "SHA384", 56)}
# SubjectPublicKeyInfo of ML-DSA up to the raw key, as RFC 9881 §4 has it
_MLDSA_HEADS = {
    "44": "30820532300b06096086480165030403110382052100",
    "65": "308207b2300b0609608648016503040312038207a100",
    "87": "30820a32300b060960864801650304031303820a2100",
}


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

    def private(self, profile: str, seed: bytes, chip_id: bytes) -> bytes:
        """The private key of a profile without HMAC_DRBG: d, or the 32 octets."""
        if profile in TPM2:
            return self.tpm2(profile, seed, chip_id)
        if profile.startswith("open-dice-"):
            return self.hkdf(seed, info=b"Key Pair", hexsalt=ASYM_SALT)
        info = profile.encode() + b"\x00" + len(chip_id).to_bytes(2, "big") + chip_id
        return self.hkdf(seed, info=info)

    def hkdf(self, seed: bytes, *, info: bytes, **salt: str) -> bytes:
        """32 octets of HKDF-SHA-512."""
        return self.kdf(32, "HKDF", digest="SHA512", hexkey=seed.hex(), hexinfo=info.hex(), **salt)

    def tpm2(self, profile: str, seed: bytes, chip_id: bytes) -> bytes:
        """d of tpm2-p256 or tpm2-p384.

        The stream is cut from 1024 octets, so that SP 800-108's length field says 8192 bits.
        """
        curve, digest, octets = TPM2[profile]
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
        d = int.from_bytes(stream[:octets], "big") % (ORDERS[curve] - 1) + 1
        return d.to_bytes(octets - 8, "big")

    def spki(self, profile: str, private: bytes) -> bytes:
        """DER SubjectPublicKeyInfo of a private key; ML-DSA by :mod:`tests.kit.mldsa`."""
        kind = profile[-2:]
        if kind in _MLDSA_HEADS:
            return bytes.fromhex(_MLDSA_HEADS[kind]) + mldsa.public_key(int(kind), private)
        if profile.endswith("ed25519"):
            der = bytes.fromhex("302e020100300506032b657004220420") + private
            return self.run("pkey", "-inform", "DER", "-pubout", "-outform", "DER", given=der)
        return self._spki_of_scalar("P-256" if profile.endswith("p256") else "P-384", private)

    def _spki_of_scalar(self, curve: str, d: bytes) -> bytes:
        """The point is OpenSSL's: an RFC 5915 key without one makes it compute it."""
        oid = bytes.fromhex(CURVE_OIDS[curve])
        body = bytes.fromhex("020101") + bytes([0x04, len(d)]) + d + bytes([0xA0, len(oid)]) + oid
        key = bytes([0x30, len(body)]) + body
        return self.run("ec", "-inform", "DER", "-pubout", "-outform", "DER", given=key)
