"""What a TPM derives below a derivation parent: confirmed values, and OpenSSL's KBKDF."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import Malformed
from brski.seed.profiles import profile
from brski.seed.secret import Seed
from brski.seed.steps import encode_scalar, scalar_octets
from brski.seed.tpm2 import derivation_context, extra_bits_scalar, kdfa
from tests.unit.seed.openssl_derivation import ORDERS

PAGE = Path(__file__).parents[3] / "docs" / "derivation.md"
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
PROFILES = {"tpm2-p256": "P-256", "tpm2-p384": "P-384"}
COUNTING = bytes(range(32))
CHIP = bytes.fromhex("c0ffee01")


def test_values_that_a_tpm_confirmed(vectors: Path) -> None:
    """Twenty cases, both hashes with both curves, five labels and contexts: libtpms agreed."""
    cases = json.loads((vectors / "derivation" / "tpm2_derivation_parent.json").read_text())
    assert len(cases) == 20
    for case in cases:
        curve = CURVES[case["curve"]]
        seed, label, context = (bytes.fromhex(case[k]) for k in ("seed", "label", "context"))
        octets = scalar_octets(curve) + 8
        stream = kdfa(case["kdf_hash"], seed, label, context, octets)
        scalar = extra_bits_scalar(stream, curve.group_order)
        assert encode_scalar(scalar, curve).hex() == case["d"]
        point = ec.derive_private_key(scalar, curve).public_key().public_numbers()
        assert (point.x, point.y) == (int(case["x"], 16), int(case["y"], 16))


@pytest.mark.parametrize("name", PROFILES)
def test_seeds_that_a_tpm_turns_down_are_refused(name: str) -> None:
    """The block of the parent's hash is the most that libtpms loads."""
    longest = {"tpm2-p256": 64, "tpm2-p384": 128}[name]
    profile(name).derive(Seed(bytes(longest)), CHIP)
    with pytest.raises(Malformed, match=f"seed has {longest + 1} octets, {name} needs 32 to"):
        profile(name).derive(Seed(bytes(longest + 1)), CHIP)


def test_a_label_that_ends_in_00_gets_no_other() -> None:
    assert kdfa("sha256", COUNTING, b"IDevID\x00", CHIP, 40) == kdfa(
        "sha256", COUNTING, b"IDevID", CHIP, 40
    )


@pytest.mark.parametrize(("candidate", "expected"), [(0, 1), (1, 2), (-3, -2), (-2, -1), (-1, 1)])
def test_the_reduction_never_gives_zero_or_the_order(candidate: int, expected: int) -> None:
    """c = n - 2 gives n - 1, the last private key; c = n - 1 begins again at 1."""
    n = ORDERS["P-256"]
    octets = (candidate % n).to_bytes(40, "big")
    assert extra_bits_scalar(octets, n) == expected % n


@pytest.mark.parametrize("octets", [0, 65])
def test_a_chip_id_of_another_length_is_refused(octets: int) -> None:
    assert len(derivation_context(bytes(64))) == 32
    with pytest.raises(Malformed, match=f"chip id has {octets} octets"):
        derivation_context(bytes(octets))
