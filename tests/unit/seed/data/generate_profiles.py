"""Write profiles.json with the values of every profile but the first: see ORIGIN.md.

    gcc -O2 -Wall -Wextra -Werror -o derive tests/unit/seed/data/derive.c -lcrypto
    python -m tests.unit.seed.data.generate_profiles ./derive openssl \\
        > tests/unit/seed/data/profiles.json

Imports nothing of ``brski``, so that a fault in it cannot get into the values.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

from tests.unit.seed.openssl_derivation import OpenSSL

BY_C = ("hmac-drbg-p384", "open-dice-p256", "open-dice-p384")
PROFILES = (
    *("hmac-drbg-p384", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"),
    *("open-dice-ed25519", "open-dice-p256", "open-dice-p384"),
    *("open-dice-ml-dsa-65", "open-dice-ml-dsa-87", "tpm2-p256", "tpm2-p384"),
)
CHIP = bytes.fromhex("c0ffee01")


def cases(profile: str) -> list[tuple[str, bytes, bytes]]:
    octets = 36 if profile == "hmac-drbg-p384" else 32
    counting = bytes(range(octets))
    changed = counting[:-1] + bytes([counting[-1] ^ 1])
    listed = [
        ("all-zero seed", bytes(octets), b"\x00"),
        ("seed 00 01 02 ...", counting, CHIP),
        ("the same but for the seed's last bit", changed, CHIP),
        ("chip id differs in its last bit", counting, bytes.fromhex("c0ffee00")),
        ("chip id of 64 octets", counting, hashlib.sha512(b"chip id").digest()),
    ]
    if not profile.startswith("open-dice-"):
        longer = hashlib.sha512(b"seed of 64 octets").digest()
        listed.append(("seed of 64 octets", longer, b"CHIP-0001"))
    return listed


def private_of(profile: str, seed: bytes, chip_id: bytes, program: str, openssl: OpenSSL) -> bytes:
    if profile not in BY_C:
        return openssl.private(profile, seed, chip_id)
    line = f"{seed.hex()} {chip_id.hex()}\n"
    answer = subprocess.run(
        [program, profile], input=line, capture_output=True, text=True, check=True
    )
    return bytes.fromhex(answer.stdout.split()[0])


def main(program: str, openssl_program: str) -> None:
    openssl = OpenSSL(openssl_program)
    values = {}
    for profile in PROFILES:
        values[profile] = [
            {
                "case": case,
                "seed": seed.hex(),
                "chip_id": chip_id.hex(),
                "private": (private := private_of(profile, seed, chip_id, program, openssl)).hex(),
                "spki_sha256": hashlib.sha256(openssl.spki(profile, private)).hexdigest(),
            }
            for case, seed, chip_id in cases(profile)
        ]
    json.dump(values, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
