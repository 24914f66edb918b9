"""The TPM objects that a vendor makes in software, and the storage keys that it wraps them to."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import KeyNotAllowed, Malformed
from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2_P256, TPM2_P384, TPM2Profile
from brski.seed.tpm_object import (
    derivation_parent,
    name_of,
    parse_storage_key,
    signing_key,
    sized,
)

SEED = Seed(bytes(range(32)))
SEED_VALUE = bytes(range(64, 96))

# TPM2_ReadPublic of libtpms' storage key, template of docs/tpm.md
STORAGE_KEY = bytes.fromhex(
    "005a0023000b00030472000000060080004300100003001000202d59219bae8868aa3ff209d7e8d57b7c55f53204"
    "0f1d7924d5a159d8b3dc113f00207e46ff38bf7a5e7553332a7ac41ca42658d0704f386c885a201ebd949b18e166"
)


@pytest.mark.parametrize(("profile", "hash_id"), [(TPM2_P256, "000b"), (TPM2_P384, "000c")])
def test_a_derivation_parent_has_the_octets_of_its_page(profile: TPM2Profile, hash_id: str) -> None:
    parent = derivation_parent(SEED, profile, SEED_VALUE)
    unique = hmac.digest(SEED_VALUE, SEED.octets, "sha256")
    head = "0008000b000304400000000a" + hash_id + "00220020"
    assert parent.public == bytes.fromhex(head) + unique
    assert parent.sensitive == (
        bytes.fromhex("000800000020") + SEED_VALUE + bytes.fromhex("0020") + SEED.octets
    )
    assert parent.name == b"\x00\x0b" + hashlib.sha256(parent.public).digest()


def test_an_object_shows_no_secret_when_printed() -> None:
    parent = derivation_parent(SEED, TPM2_P256, SEED_VALUE)
    assert "sensitive" not in repr(parent)
    assert repr(SEED.octets)[2:-1] not in repr(parent)


@pytest.mark.parametrize(("profile", "most"), [(TPM2_P256, 64), (TPM2_P384, 128)])
def test_a_seed_that_no_tpm_loads_is_refused(profile: TPM2Profile, most: int) -> None:
    derivation_parent(Seed(bytes(most)), profile, SEED_VALUE)
    with pytest.raises(Malformed, match=str(most + 1)):
        derivation_parent(Seed(bytes(most + 1)), profile, SEED_VALUE)


@pytest.mark.parametrize("octets", [31, 33])
def test_a_seed_value_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(Malformed, match="seedValue"):
        derivation_parent(SEED, TPM2_P256, bytes(octets))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_a_signing_key_keeps_leading_zeros(curve: ec.EllipticCurve) -> None:
    """The scalar 1 is as long as any other."""
    octets = curve.key_size // 8
    made = signing_key(ec.derive_private_key(1, curve))
    assert made.sensitive == (bytes.fromhex("002300000000") + sized((1).to_bytes(octets, "big")))
    assert len(made.public) == 20 + 2 * (2 + octets)


def test_a_signing_key_on_another_curve_is_refused() -> None:
    with pytest.raises(KeyNotAllowed, match="secp521r1"):
        signing_key(ec.generate_private_key(ec.SECP521R1()))


def test_the_storage_key_of_the_page_is_read() -> None:
    key = parse_storage_key(STORAGE_KEY)
    point = key.public_key.public_numbers()
    assert point.x == int.from_bytes(STORAGE_KEY[26:58], "big")
    assert point.y == int.from_bytes(STORAGE_KEY[60:92], "big")
    assert (key.hash_name, key.aes_octets) == ("sha256", 16)


@pytest.mark.parametrize(
    ("at", "octets", "said"),
    [
        (2, "0001", "no ECC key"),  # RSA
        (4, "0004", "SHA-256"),  # nameAlg SHA-1
        (6, "00030470", "leave its TPM"),  # fixedTPM clear
        (6, "00020472", "stores nothing"),  # restricted clear
        (6, "00010472", "stores nothing"),  # decrypt clear
        (6, "00070472", "stores nothing"),  # it signs, too
        (12, "0026", "not AES"),  # Camellia
        (14, "00c0", "AES-CFB"),  # 192 bits
        (16, "0042", "AES-CFB"),  # CBC
        (18, "0018", "AES-CFB"),  # a scheme
        (20, "0005", "P-256 or P-384"),  # P-521
        (22, "0022", "P-256 or P-384"),  # a KDF
    ],
)
def test_another_kind_of_storage_key_is_refused(at: int, octets: str, said: str) -> None:
    """Each differs from the storage key of the page in one field."""
    other = bytes.fromhex(octets)
    altered = STORAGE_KEY[:at] + other + STORAGE_KEY[at + len(other) :]
    with pytest.raises(KeyNotAllowed, match=said):
        parse_storage_key(altered)


@pytest.mark.parametrize("end", range(len(STORAGE_KEY)))
def test_a_storage_key_that_ends_too_early_is_refused(end: int) -> None:
    with pytest.raises(Malformed, match="too early"):
        parse_storage_key(STORAGE_KEY[:end])


def test_octets_after_a_storage_key_are_refused() -> None:
    with pytest.raises(Malformed, match="1 octets after"):
        parse_storage_key(STORAGE_KEY + b"\x00")
    with pytest.raises(Malformed, match="1 octets after"):
        parse_storage_key(sized(STORAGE_KEY[2:] + b"\x00"))


def test_a_point_off_its_curve_is_refused() -> None:
    """Else the shared secret would be of a group that the attacker chose."""
    altered = STORAGE_KEY[:-1] + bytes([STORAGE_KEY[-1] ^ 1])
    with pytest.raises(Malformed, match="not on its curve"):
        parse_storage_key(altered)


def test_a_name_is_the_digest_of_the_public_area() -> None:
    assert name_of(b"area") == b"\x00\x0b" + hashlib.sha256(b"area").digest()
