"""What a chip must come to from its seed, for the firmware team that brings it up."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.errors import Malformed
from brski.pki.keys import encode_spki
from brski.seed.profiles import profile as profile_called
from brski.seed.record import MOST_SEED_OCTETS
from brski.seed.secret import Seed
from brski.seed.steps import Steps

_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")


def read_seed(stream: BinaryIO) -> Seed:
    """The seed that *stream* holds: all of it, nothing stripped.

    Raises:
        Malformed: fewer than 32 octets, or more than 512.
    """
    octets = stream.read(MOST_SEED_OCTETS + 1)
    if len(octets) > MOST_SEED_OCTETS:
        raise Malformed(f"the seed has more than {MOST_SEED_OCTETS} octets")
    return Seed(octets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """One derivation; :attr:`steps` are secrets."""

    profile: str
    chip_id: bytes
    steps: Steps = field(repr=False)
    spki: bytes  # DER
    pem: str

    @classmethod
    def of(cls, profile: str, seed: Seed, chip_id: str) -> Derived:
        """Derive.

        Args:
            profile: its name.
            chip_id: in hex.

        Raises:
            UnknownFormat: no such profile.
            Malformed: *chip_id* is not hex, or it or *seed* of a length that is not taken.
        """
        found = profile_called(profile)
        if not _HEX.fullmatch(chip_id):
            raise Malformed(
                f"chip id {chip_id!r:.80} is not in hex",
                hint="for a chip id that is text: printf %s CHIP-0001 | od -An -tx1 | tr -d ' '",
            )
        octets = bytes.fromhex(chip_id)
        public_key = found.derive(seed, octets).public_key()
        return cls(
            profile=found.name,
            chip_id=octets,
            steps=found.steps(seed, octets),
            spki=encode_spki(public_key),
            pem=public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        )
