"""Keys and sealed records of a vault, to the octet, by other implementations, and altered."""

from __future__ import annotations

import copy
import importlib
import pickle
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import KeyUnusable, StateError
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from brski.seed.vault import (
    ChunkPlace,
    SealedRecord,
    Stretching,
    VaultKeys,
    chunk_digest,
)
from tests.kit.programs import require_program

KEY, VAULT_ID = bytes(range(32)), bytes(range(16))
CHUNK_KEY, NONCE = b"\xcc" * 32, b"\x0a" * 12
PLACE = ChunkPlace(batch_digest=b"\xbb" * 32, index=2, profile="hmac-drbg-p256")
CHIP, SEED = bytes.fromhex("c0ffee01"), bytes(range(32))
RECORD = SeedRecord(chip_id=CHIP, seed=Seed(SEED))
# docs/vault.md
EMPTY_MAC = bytes.fromhex("65830a10d0cf674814e7312023cb8db3ddb1a507a543085f0860c076b965d0cd")
WRAPPED = bytes.fromhex(
    "0a0a0a0a0a0a0a0a0a0a0a0a673adcfe3c43b738de19ac59d60a5024fd00681f"
    "b6e6054f01ad7395bb6fd3c43db824e27f29302f3051e86baa1cdf74"
)
SEALED = bytes.fromhex(
    "d5ca0777c4d701b6c9f72d42f7a2d9a2089949cf1b6297b34d4b568919872ffa"
    "24cd420e99b82826d3e0dccf214d2ca9"
)
STRETCHED = bytes.fromhex("251766366a67d814414da1481562ad38a97d7018b83978178911f5cdf7ee76d5")


def keys() -> VaultKeys:
    return VaultKeys(KEY, VAULT_ID)


def openssl_kdf(name: str, octets: int, *options: str) -> bytes:
    openssl = require_program("openssl", "openssl")
    named = [part for option in options for part in ("-kdfopt", option)]
    command = [openssl, "kdf", "-keylen", str(octets), *named, "-binary", name]
    return subprocess.run(command, check=True, capture_output=True).stdout


def hkdf(info: bytes) -> bytes:
    return openssl_kdf(
        "HKDF", 32, "digest:SHA256", f"hexkey:{KEY.hex()}", f"hexsalt:{VAULT_ID.hex()}",
        f"hexinfo:{info.hex()}",
    )  # fmt: skip


def test_the_pages_values() -> None:
    key, wrapped = keys().wrap(PLACE, CHUNK_KEY, NONCE)
    assert (keys().mac(b""), wrapped, key.seal(1, RECORD)) == (EMPTY_MAC, WRAPPED, SEALED)
    assert keys().unwrap(PLACE, WRAPPED).open(1, CHIP, SEALED) == RECORD


def test_another_implementation_seals_the_same() -> None:
    """OpenSSL's HKDF, an AES-GCM in plain Python, another CBOR."""
    context = [VAULT_ID, PLACE.batch_digest, PLACE.index, PLACE.profile]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what else tlslite imports
        python_aesgcm = importlib.import_module("tlslite.utils.python_aesgcm")
    wrapping = python_aesgcm.new(bytearray(hkdf(b"brski vault wrap v1")))
    chunk_data = cbor2.dumps(["brski vault chunk v1", *context], canonical=True)
    assert NONCE + wrapping.seal(NONCE, bytearray(CHUNK_KEY), bytearray(chunk_data)) == WRAPPED
    aead = python_aesgcm.new(bytearray(CHUNK_KEY))
    record_data = cbor2.dumps(["brski vault record v1", *context, 1, CHIP], canonical=True)
    nonce = (1).to_bytes(12, "big")
    assert aead.seal(nonce, bytearray(SEED), bytearray(record_data)) == SEALED


def test_openssl_stretches_the_same() -> None:
    passphrase = b"correct horse battery staple"
    assert Stretching(salt=bytes(16), log2_n=15).stretch(passphrase) == STRETCHED
    options = ("n:32768", "r:8", "p:1", "maxmem_bytes:67108864")
    salt = f"hexsalt:{bytes(16).hex()}"
    assert openssl_kdf("SCRYPT", 32, f"pass:{passphrase.decode()}", salt, *options) == STRETCHED


@pytest.mark.parametrize(
    "weak",
    [
        {"log2_n": 14},
        {"log2_n": 21},
        {"r": 4},
        {"p": 0},
        {"p": 5},
        {"salt": bytes(15)},
        {"salt": b""},
    ],
)
def test_scrypt_below_the_least_or_above_the_most_is_refused(weak: dict[str, object]) -> None:
    """A vault that was altered cannot ask for a weak key, nor for a gigabyte of memory."""
    Stretching(salt=bytes(16), log2_n=15, p=4)
    Stretching(salt=bytes(16), log2_n=20)
    with pytest.raises(StateError, match="scrypt"):
        Stretching(**({"salt": bytes(16)} | weak))  # type: ignore[arg-type]  # one of them wrong


def test_a_short_passphrase_is_refused() -> None:
    stretching = Stretching(salt=bytes(16), log2_n=15)
    assert len(stretching.stretch(b"x" * 12)) == 32
    with pytest.raises(KeyUnusable, match="12 octets or more"):
        stretching.stretch(b"x" * 11)


@pytest.mark.parametrize("octets", [0, 16, 31, 33, 64])
def test_a_vault_key_has_32_octets(octets: int) -> None:
    with pytest.raises(KeyUnusable, match=f"has {octets} octets"):
        VaultKeys(bytes(octets), VAULT_ID)


def test_a_chunk_key_with_any_bit_flipped_or_cut_anywhere_is_refused() -> None:
    altered = [flipped(WRAPPED, bit) for bit in range(len(WRAPPED) * 8)]
    for octets in (*altered, *(WRAPPED[:length] for length in range(len(WRAPPED)))):
        with pytest.raises(StateError, match="the key of chunk 2"):
            keys().unwrap(PLACE, octets)


def test_a_record_with_any_bit_flipped_or_cut_anywhere_is_refused() -> None:
    key = keys().unwrap(PLACE, WRAPPED)
    altered = [flipped(SEALED, bit) for bit in range(len(SEALED) * 8)]
    cut = [SEALED[:length] for length in range(len(SEALED))]
    for octets in (*altered, *cut, SEALED + b"\x00"):
        with pytest.raises(StateError, match="record of chip c0ffee01"):
            key.open(1, CHIP, octets)


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, index=3),
        replace(PLACE, batch_digest=b"\xba" * 32),
        replace(PLACE, profile="hmac-drbg-p384"),
    ],
)
def test_a_chunk_is_bound_to_its_place(elsewhere: ChunkPlace) -> None:
    """Batch, number and profile: the key is not unwrapped elsewhere, nor a record opened."""
    with pytest.raises(StateError):
        keys().unwrap(elsewhere, WRAPPED)
    other, _ = keys().wrap(elsewhere, CHUNK_KEY, NONCE)  # the very same chunk key
    with pytest.raises(StateError):
        other.open(1, CHIP, SEALED)


def test_a_record_is_bound_to_vault_place_and_chip() -> None:
    key = keys().unwrap(PLACE, WRAPPED)
    with pytest.raises(StateError):
        key.open(0, CHIP, SEALED)
    with pytest.raises(StateError):
        key.open(1, b"c0ffee02", SEALED)
    with pytest.raises(StateError):
        VaultKeys(KEY, bytes(16)).unwrap(PLACE, WRAPPED)
    other_vault, _ = VaultKeys(KEY, bytes(16)).wrap(PLACE, CHUNK_KEY, NONCE)
    with pytest.raises(StateError):
        other_vault.open(1, CHIP, SEALED)


@given(
    st.binary(min_size=32, max_size=512), st.integers(0, 9999), st.binary(min_size=1, max_size=64)
)
def test_what_is_sealed_is_opened(seed: bytes, place: int, chip_id: bytes) -> None:
    record = SeedRecord(chip_id=chip_id, seed=Seed(seed))
    key, wrapped = keys().wrap(PLACE, CHUNK_KEY, NONCE)
    sealed = key.seal(place, record)
    assert seed not in sealed
    assert keys().unwrap(PLACE, wrapped).open(place, chip_id, sealed) == record


def rows() -> list[SealedRecord]:
    return [SealedRecord(place=n, chip_id=b"chip%d" % n, sealed=b"s%d" % n) for n in range(3)]


CHANGES: list[tuple[str, Callable[[list[SealedRecord]], Sequence[SealedRecord]]]] = [
    ("removed", lambda r: r[1:]),
    ("duplicated", lambda r: [*r, r[-1]]),
    ("swapped", lambda r: [r[1], r[0], r[2]]),
    ("moved", lambda r: [replace(r[0], place=7), *r[1:]]),
    ("renamed", lambda r: [replace(r[0], chip_id=b"other"), *r[1:]]),
    ("altered", lambda r: [replace(r[0], sealed=b"other"), *r[1:]]),
]


@pytest.mark.parametrize("change", [c for _, c in CHANGES], ids=[n for n, _ in CHANGES])
def test_a_chunks_digest_is_of_every_record(
    change: Callable[[list[SealedRecord]], Sequence[SealedRecord]],
) -> None:
    before = chunk_digest(PLACE, WRAPPED, rows())
    assert chunk_digest(PLACE, WRAPPED, rows()) == before
    assert chunk_digest(PLACE, WRAPPED, change(rows())) != before
    assert chunk_digest(replace(PLACE, index=3), WRAPPED, rows()) != before
    assert chunk_digest(PLACE, flipped(WRAPPED, 0), rows()) != before


def test_keys_show_nothing_and_stay_where_they_are() -> None:
    key, _ = keys().wrap(PLACE, CHUNK_KEY, NONCE)
    for secret in (keys(), key):
        assert repr(secret).endswith("(hidden)")
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="not pickled or copied"):
                take(secret)


def flipped(octets: bytes, bit: int) -> bytes:
    altered = bytearray(octets)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)
