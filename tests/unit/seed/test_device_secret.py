"""Secrets for other purposes: to the octet, by OpenSSL, and never an identity's."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
import subprocess
from collections.abc import Iterator

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import KeyMismatch, Malformed, SettingsError, UnknownFormat
from brski.seed.device_secret import (
    SALT,
    DeviceSecret,
    Purpose,
    SealedSecret,
    derive_secret,
    open_secret,
    seal_secret,
)
from brski.seed.profiles import NAMES, profile
from brski.seed.recipient_key import HybridPrivateKey
from brski.seed.secret import Seed
from tests.kit.programs import require_program

CHIP = bytes.fromhex("c0ffee01")
VALUES = [  # docs/secrets.md
    (
        Purpose(name="firmware-encryption"),
        "63f6b8265452f3e416ced1b15bbde5a7c19e3894424423cdd244255950060f9a",
    ),
    (Purpose(name="firmware-encryption", octets=16), "5ab5afac0ac0ce3eacb9c1410bd1370b"),
    (
        Purpose(name="debug-port", octets=64),
        "922962bfcd6df762ec8e6a7b7613f7e62d31a9ba47f3a61eed5bcf86930923c6"
        "a205feefc564d5f385dd47c2cfefbd5346e1f20a71858fc537973b312c6bc392",
    ),
]


def seed(octets: int = 32) -> Seed:
    return Seed(bytes(range(octets)))


def info_of(purpose: Purpose, chip_id: bytes) -> bytes:
    """By the page, not by the code."""
    name = purpose.name.encode()
    parts = (bytes((len(name),)), name, len(chip_id).to_bytes(2, "big"), chip_id)
    return b"".join(parts) + purpose.octets.to_bytes(2, "big")


@pytest.mark.parametrize(("purpose", "value"), VALUES)
def test_the_pages_values(purpose: Purpose, value: str) -> None:
    assert derive_secret(seed(), CHIP, purpose).octets.hex() == value


@pytest.mark.parametrize(("purpose", "value"), VALUES)
def test_openssl_comes_to_the_same(purpose: Purpose, value: str) -> None:
    """By the command that the page gives."""
    openssl = require_program("openssl", "openssl")
    options = (
        "digest:SHA256",
        "mode:EXTRACT_AND_EXPAND",
        f"hexkey:{seed().octets.hex()}",
        f"hexsalt:{b'brski device secret v1'.hex()}",
        f"hexinfo:{info_of(purpose, CHIP).hex()}",
    )
    named = [part for option in options for part in ("-kdfopt", option)]
    command = [openssl, "kdf", "-keylen", str(purpose.octets), *named, "-binary", "HKDF"]
    assert subprocess.run(command, check=True, capture_output=True).stdout.hex() == value


def test_everything_that_it_is_bound_to_tells() -> None:
    """Seed, chip, purpose and length: one step aside, and no octet is shared by rule."""
    usual = Purpose(name="firmware-encryption")
    secret = derive_secret(seed(), CHIP, usual).octets
    others = [
        derive_secret(Seed(bytes(range(31)) + b"\x1e"), CHIP, usual),
        derive_secret(seed(33), CHIP, usual),
        derive_secret(seed(), b"\xc0\xff\xee\x02", usual),
        derive_secret(seed(), CHIP + b"\x00", usual),
        derive_secret(seed(), CHIP, Purpose(name="firmware-encryption2")),
        derive_secret(seed(), CHIP, Purpose(name="firmware-encryption", octets=33)),
    ]
    assert len({secret[:16], *(each.octets[:16] for each in others)}) == 7


def test_what_a_purpose_may_be_called() -> None:
    for name in ("x", "a1", "firmware-encryption", "a-1-b", "x" * 32):
        Purpose(name=name)
    for name in (
        *("", "-x", "x-", "x--y", "1x", "X", "x_y", "x y", "x\n", "é", "x" * 33),
        *("idevid", "ldevid", *NAMES),
    ):
        with pytest.raises(SettingsError):
            Purpose(name=name)


@pytest.mark.parametrize("octets", [-1, 0, 15, 65, 1 << 16])
def test_how_long_a_secret_may_be(octets: int) -> None:
    Purpose(name="x", octets=16)
    Purpose(name="x", octets=64)
    with pytest.raises(SettingsError, match="16 to 64 octets"):
        Purpose(name="x", octets=octets)


def test_a_chip_id_has_1_to_64_octets() -> None:
    for wrong in (b"", b"x" * 65):
        with pytest.raises(Malformed):
            derive_secret(seed(), wrong, Purpose(name="x"))


# -- never an identity's


def steps_of(name: str, octets: int) -> Iterator[bytes]:
    """Every value that a profile comes through, by its own account, and the key itself."""
    found = profile(name)
    length = min(max(octets, found.least_seed_octets), found.most_seed_octets)
    steps = found.steps(seed(length), CHIP)
    yield from (value for value in _octets_in(steps) if len(value) >= 16)
    key = found.derive(seed(length), CHIP)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        number = key.private_numbers().private_value
        yield number.to_bytes((key.key_size + 7) // 8, "big")
    else:
        yield key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def _octets_in(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _octets_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _octets_in(each)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _octets_in(getattr(value, name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("octets", [32, 48, 64])
def test_no_identity_key_is_a_secret_of_the_same_seed(name: str, octets: int) -> None:
    """Neither the key nor a value on the way to it, for any purpose that could be confused."""
    found = profile(name)
    length = min(max(octets, found.least_seed_octets), found.most_seed_octets)
    values = {value for value in steps_of(name, octets) if value != seed(length).octets}
    assert values
    words = [*name.split("-"), "identity", "key", "key-pair", "idevid-key", "firmware-encryption"]
    purposes = [w for w in words if w[0].isalpha() and w not in ("idevid", "ldevid", *NAMES)]
    for purpose in purposes:
        for size in (16, 32, 48, 64):
            secret = derive_secret(seed(length), CHIP, Purpose(name=purpose, octets=size)).octets
            assert not [v for v in values if v[:16] in secret or secret[:16] in v]


@pytest.mark.parametrize("name", NAMES)
def test_no_profile_begins_with_the_salt(name: str) -> None:
    """The first HMAC of a secret has this key; its value is on no profile's way."""
    found = profile(name)
    own = seed(max(32, found.least_seed_octets))
    extracted = hmac.digest(SALT, own.octets, hashlib.sha256)
    assert extracted not in set(steps_of(name, len(own)))


# -- sealed


def recipient(start: int = 0) -> HybridPrivateKey:
    return HybridPrivateKey.parse(bytes(range(start, start + 96)))


def sealed_one() -> tuple[DeviceSecret, SealedSecret]:
    purpose = Purpose(name="debug-port", octets=48)
    secret = derive_secret(seed(), CHIP, purpose)
    return secret, seal_secret(secret, CHIP, purpose, recipient().public_key)


def test_a_sealed_secret_is_opened_by_whom_it_is_for() -> None:
    secret, sealed = sealed_one()
    assert SealedSecret.parse(sealed.encode()) == sealed
    assert open_secret(sealed, recipient()).octets == secret.octets
    assert cbor2.loads(sealed.encode())[:5] == [
        *("brski sealed secret v1", CHIP, "debug-port", 48, recipient().public_key.key_id),
    ]
    with pytest.raises(KeyMismatch):
        open_secret(sealed, recipient(1))


def test_what_it_says_of_itself_is_sealed_with_it() -> None:
    """Another chip, purpose or length, or any bit of it, and it stays shut."""
    _, sealed = sealed_one()
    items = cbor2.loads(sealed.encode())
    for position, other in ((1, b"c0ffee02"), (2, "debug-porto"), (3, 47)):
        altered = [*items]
        altered[position] = other
        with pytest.raises(KeyMismatch):
            open_secret(SealedSecret.parse(cbor2.dumps(altered, canonical=True)), recipient())
    for bit in range(0, len(sealed.sealed) * 8, 97):
        flipped = bytearray(sealed.sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(KeyMismatch):
            open_secret(SealedSecret.parse(cbor2.dumps([*items[:5], bytes(flipped)])), recipient())


def test_what_is_no_sealed_secret_is_refused() -> None:
    octets = sealed_one()[1].encode()
    items = cbor2.loads(octets)
    for length in range(0, len(octets), 7):
        with pytest.raises((Malformed, UnknownFormat)):
            SealedSecret.parse(octets[:length])
    for position in range(len(items)):
        altered = [*items]
        altered[position] = {}
        with pytest.raises((Malformed, UnknownFormat)):
            SealedSecret.parse(cbor2.dumps(altered))
    for name, size in (("idevid", 32), ("x", 15)):
        with pytest.raises(Malformed, match="purpose"):
            SealedSecret.parse(cbor2.dumps([items[0], CHIP, name, size, *items[4:]]))


def test_a_secret_shows_nothing() -> None:
    secret, _ = sealed_one()
    assert repr(secret) == "DeviceSecret(hidden)"
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            take(secret)


@given(st.binary(min_size=32, max_size=512), st.binary(min_size=1, max_size=64))
def test_it_is_the_hkdf_of_the_page(octets: bytes, chip_id: bytes) -> None:
    """With hmac alone, for any seed and chip."""
    purpose = Purpose(name="x", octets=64)
    prk = hmac.digest(b"brski device secret v1", octets, "sha256")
    info = info_of(purpose, chip_id)
    first = hmac.digest(prk, info + b"\x01", "sha256")
    second = hmac.digest(prk, first + info + b"\x02", "sha256")
    assert derive_secret(Seed(octets), chip_id, purpose).octets == first + second
