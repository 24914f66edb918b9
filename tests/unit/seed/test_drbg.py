"""HMAC_DRBG against NIST's own vectors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brski.errors import LocalError
from brski.seed.drbg import HMACDRBG

ENTROPY = bytes(range(48))


@pytest.mark.requirement("OEM-12")
@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
def test_nist_cavp_vectors(vectors: Path, hash_name: str) -> None:
    """CAVS 14.3, no reseed: instantiate, generate and discard, generate and compare."""
    path = vectors / "derivation" / "nist_cavp_hmac_drbg_no_reseed.json"
    cases = [
        {name: value if name == "hash" else bytes.fromhex(value) for name, value in case.items()}
        for case in json.loads(path.read_text())["cases"]
        if case["hash"].lower() == hash_name
    ]
    assert len(cases) == 60
    for case in cases:
        generator = HMACDRBG(
            hash_name, case["entropy_input_and_nonce"], personalization=case["personalization"]
        )
        octets = len(case["returned_bits"])
        generator.generate(octets, case["additional_input_1"])
        assert generator.generate(octets, case["additional_input_2"]) == case["returned_bits"]


def test_entropy_nonce_and_personalization_are_joined() -> None:
    whole = HMACDRBG("sha256", ENTROPY + b"name").generate(40)
    assert HMACDRBG("sha256", ENTROPY[:32], ENTROPY[32:], b"name").generate(40) == whole
    assert HMACDRBG("sha256", ENTROPY, personalization=b"name").generate(40) == whole
    assert HMACDRBG("sha256", ENTROPY, personalization=b"Name").generate(40) != whole


def test_requests_move_the_generator_on() -> None:
    """Two requests are not one long request, and additional input matters in both places."""
    generator = HMACDRBG("sha256", ENTROPY)
    first, second = generator.generate(32), generator.generate(32)
    assert first != second
    assert HMACDRBG("sha256", ENTROPY).generate(64) != first + second
    other = HMACDRBG("sha256", ENTROPY)
    assert other.generate(32, b"more") != first
    assert other.generate(32) != second


def test_too_little_entropy_is_refused() -> None:
    HMACDRBG("sha256", bytes(32))
    HMACDRBG("sha256", bytes(16), bytes(16))
    with pytest.raises(LocalError, match="32 octets of entropy"):
        HMACDRBG("sha256", bytes(31), personalization=bytes(100))


def test_a_request_has_65536_octets_at_most() -> None:
    generator = HMACDRBG("sha512", ENTROPY)
    assert len(generator.generate(65536)) == 65536
    with pytest.raises(LocalError, match="65536 octets at most"):
        generator.generate(65537)
