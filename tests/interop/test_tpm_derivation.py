"""A TPM derives from a wrapped seed the key that the software computes: shown on a live swtpm."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kit.programs import require_library
from tests.kit.tpm import SoftwareTPM, software_tpm, wrap_object, wrap_seed

require_library("tpm2_pytss", "tpm")

from brski.errors import KeyUnusable
from brski.pki import signatures
from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2_P256, TPM2_P384, TPM2Profile
from brski.seed.tpm_object import signing_key
from brski.seed.tpm_wrap import WrappedObject
from device_client.tpm.chip import Chip
from device_client.tpm.connection import TPM
from device_client.tpm.templates import PROFILES
from device_client.tpm.wrapped import PROFILE_NAMES, Wrapped

RANDOM_SEEDS = 150  # for each curve
CHIP_ID = b"chip-0001"
BOTH = pytest.mark.parametrize("profile", [TPM2_P256, TPM2_P384], ids=lambda each: each.name)


@pytest.fixture(scope="module")
def swtpm() -> Iterator[SoftwareTPM]:
    with software_tpm() as running:
        yield running


@pytest.fixture
def tpm(swtpm: SoftwareTPM, tmp_path: Path) -> TPM:
    return TPM(swtpm.tcti, tmp_path / "lock")


def _to_device(wrapped: WrappedObject) -> Wrapped:
    return Wrapped(
        public=wrapped.public,
        duplicate=wrapped.duplicate,
        encrypted_secret=wrapped.encrypted_secret,
    )


def _derived(
    chip: Chip, seed: Seed, profile: TPM2Profile, chip_id: bytes
) -> ec.EllipticCurvePublicKey:
    """The public key that the TPM derives; it must also have signed with it."""
    suite = PROFILES[profile.name]
    wrapped = _to_device(wrap_seed(seed, profile, chip.storage_key_public()))
    with chip.derived_key(wrapped, suite, chip_id) as key:
        signature = chip.sign(key, hashlib.new(suite.hash_name, b"data").digest())
        signatures.verify(key.public_key, signature, b"data", what="test")
        return key.public_key


@BOTH
def test_random_seeds_give_the_same_key_in_tpm_and_software(tpm: TPM, profile: TPM2Profile) -> None:
    """Seeds of all lengths that the profile takes, chip ids of all lengths."""
    lengths = range(profile.least_seed_octets, profile.most_seed_octets + 1)
    with tpm.open() as chip:
        for number in range(RANDOM_SEEDS):
            seed = Seed(secrets.token_bytes(lengths[number % len(lengths)]))
            chip_id = secrets.token_bytes(1 + number % 64)
            expected = profile.derive(seed, chip_id).public_key()
            assert _derived(chip, seed, profile, chip_id) == expected, number


@BOTH
def test_an_all_zero_seed_and_one_of_another_bit(tpm: TPM, profile: TPM2Profile) -> None:
    """Equal to the software's in each case, and different from one another."""
    zero, other = Seed(bytes(32)), Seed(bytes(31) + b"\x01")
    with tpm.open() as chip:
        found = [_derived(chip, seed, profile, CHIP_ID) for seed in (zero, other)]
    assert found == [profile.derive(seed, CHIP_ID).public_key() for seed in (zero, other)]
    assert found[0] != found[1]


def test_seed_and_chip_id_and_profile_each_matter(tpm: TPM) -> None:
    seed = Seed(bytes(range(32)))
    with tpm.open() as chip:
        first = _derived(chip, seed, TPM2_P256, b"chip-0001")
        assert _derived(chip, seed, TPM2_P256, b"CHIP-0001") != first
        assert first == TPM2_P256.derive(seed, b"chip-0001").public_key()


@BOTH
def test_the_key_itself_can_be_imported(tpm: TPM, profile: TPM2Profile) -> None:
    """The way out for a TPM that refuses to derive: the same key, wrapped."""
    software = profile.derive(Seed(bytes(32)), CHIP_ID)
    suite = PROFILES[profile.name]
    with tpm.open() as chip:
        wrapped = wrap_object(signing_key(software), chip.storage_key_public())
        with chip.imported_key(_to_device(wrapped)) as key:
            signature = chip.sign(key, hashlib.new(suite.hash_name, b"data").digest())
    signatures.verify(software.public_key(), signature, b"data", what="test")


def test_a_seed_for_another_tpm_is_refused(tpm: TPM, tmp_path: Path) -> None:
    with software_tpm() as other, TPM(other.tcti, tmp_path / "other").open() as chip:
        foreign = chip.storage_key_public()
    wrapped = _to_device(wrap_seed(Seed(bytes(32)), TPM2_P256, foreign))
    with (
        tpm.open() as chip,
        pytest.raises(KeyUnusable, match="another TPM"),
        chip.derived_key(wrapped, PROFILES["tpm2-p256"], CHIP_ID),
    ):
        pass


def test_a_wrapped_seed_with_another_octet_is_refused(tpm: TPM) -> None:
    """The nearest to the acceptance above: one bit of the duplicate, which the HMAC covers."""
    with tpm.open() as chip:
        wrapped = wrap_seed(Seed(bytes(32)), TPM2_P256, chip.storage_key_public())
        altered = wrapped.duplicate[:-1] + bytes([wrapped.duplicate[-1] ^ 1])
        damaged = Wrapped(
            public=wrapped.public,
            duplicate=altered,
            encrypted_secret=wrapped.encrypted_secret,
        )
        with (
            pytest.raises(KeyUnusable, match="another TPM"),
            chip.derived_key(damaged, PROFILES["tpm2-p256"], CHIP_ID),
        ):
            pass


def test_the_device_file_and_the_tpm_know_the_same_profiles() -> None:
    assert tuple(PROFILES) == PROFILE_NAMES
