"""Write hmac_drbg_p256.json with the values that the C program computes: see ORIGIN.md.

    gcc -O2 -Wall -Wextra -Werror -o derive derive.c -lcrypto
    python generate.py ./derive > hmac_drbg_p256.json

Imports nothing of this project, so that a fault in it cannot get into the values.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

COUNTING = bytes(range(32))
CHIP = bytes.fromhex("c0ffee01")
CASES = [
    ("all-zero seed", bytes(32), b"\x00"),
    ("seed 00..1f, chip id of four octets", COUNTING, CHIP),
    ("the same but for the seed's last bit", COUNTING[:-1] + b"\x1e", CHIP),
    ("the same but for the seed's first bit", b"\x80" + COUNTING[1:], CHIP),
    ("the same seed, chip id differs in its last bit", COUNTING, bytes.fromhex("c0ffee00")),
    ("the same seed, chip id with a further zero octet", COUNTING, CHIP + b"\x00"),
    ("chip id of one octet", hashlib.sha256(b"one octet").digest(), b"\xff"),
    (
        "chip id of 64 octets",
        hashlib.sha256(b"sixty-four octets").digest(),
        hashlib.sha512(b"chip id").digest(),
    ),
    ("seed of 33 octets, a zero after the 32 above", COUNTING + b"\x00", CHIP),
    ("seed of 48 octets", hashlib.sha384(b"seed of 48 octets").digest(), b"CHIP-0001"),
    ("seed of 64 octets", hashlib.sha512(b"seed of 64 octets").digest(), b"CHIP-0001"),
    ("seed of all ones, chip id in small letters", b"\xff" * 32, b"chip-0001"),
    ("the same, chip id in capitals", b"\xff" * 32, b"CHIP-0001"),
]


def main(program: str) -> None:
    lines = "".join(f"{seed.hex()} {chip_id.hex()}\n" for _, seed, chip_id in CASES)
    answer = subprocess.run(
        [program, "hmac-drbg-p256"], input=lines, capture_output=True, text=True, check=True
    )
    values = []
    for (case, seed, chip_id), line in zip(CASES, answer.stdout.splitlines(), strict=True):
        d, point, _ = line.split()
        values.append(
            {
                "case": case,
                "seed": seed.hex(),
                "chip_id": chip_id.hex(),
                "d": d,
                "x": point[:64],
                "y": point[64:],
            }
        )
    json.dump({"profile": "hmac-drbg-p256", "cases": values}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
