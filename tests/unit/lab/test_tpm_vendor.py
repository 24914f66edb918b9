"""The vendor's step for a TPM: from a fuse to a device file."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from brski.errors import KeyNotAllowed, UnknownFormat
from brski.seed.tpm2 import TPM2_P256
from brski_lab.tpm_vendor import wrap_for_tpm
from device_client.identity.facts import Facts
from device_client.identity.tpm_file import encode_device
from tests.kit import device, pki
from tests.unit.seed.test_tpm_object import STORAGE_KEY

FUSE = device.make_fuse(pki.make_pki(), pki.make_root(), derivation_profile="tpm2-p256")


def test_the_facts_are_the_fuses_and_the_seed_is_hidden() -> None:
    made = wrap_for_tpm(FUSE, STORAGE_KEY)
    for each in fields(Facts):
        assert getattr(made, each.name) == getattr(FUSE, each.name)
    assert FUSE.seed.octets not in encode_device(made)
    assert made.wrapped_key is None


def test_the_key_is_wrapped_when_asked_for() -> None:
    """Neither it nor the seed can be read in the file."""
    made = wrap_for_tpm(FUSE, STORAGE_KEY, with_key=True)
    key = TPM2_P256.derive(FUSE.seed, FUSE.chip_id)
    octets = encode_device(made)
    assert made.wrapped_key is not None
    assert FUSE.seed.octets not in octets
    assert key.private_numbers().private_value.to_bytes(32, "big") not in octets


def test_no_two_wrappings_are_alike() -> None:
    first, second = wrap_for_tpm(FUSE, STORAGE_KEY), wrap_for_tpm(FUSE, STORAGE_KEY)
    assert first.wrapped_seed != second.wrapped_seed
    assert first.spki_sha256 == second.spki_sha256


def test_a_profile_that_no_tpm_derives_is_refused() -> None:
    with pytest.raises(UnknownFormat, match="hmac-drbg-p256"):
        wrap_for_tpm(replace(FUSE, derivation_profile="hmac-drbg-p256"), STORAGE_KEY)


def test_a_storage_key_that_may_leave_its_tpm_is_refused() -> None:
    """fixedTPM is clear; the rest of the checks are the parser's."""
    altered = STORAGE_KEY[:6] + bytes.fromhex("00030470") + STORAGE_KEY[10:]
    with pytest.raises(KeyNotAllowed, match="leave its TPM"):
        wrap_for_tpm(FUSE, altered)
