"""The OEM's hybrid key: its files, and sealing, against HPKE put together by hand."""

from __future__ import annotations

import hashlib
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brski.errors import KeyMismatch, KeyUnusable, Malformed
from brski.seed.recipient_key import HPKE_CODE_POINTS, HybridPrivateKey, HybridPublicKey
from tests.unit.seed import second_opinion

PRIVATE = hashlib.shake_256(b"an OEM").digest(96)
KEY = HybridPrivateKey.parse(PRIVATE)
PUBLIC = KEY.public_key.encode()


def test_the_files_are_the_raw_parts() -> None:
    assert KEY.encode() == PRIVATE
    assert second_opinion.public_of(PRIVATE) == PUBLIC
    assert len(PUBLIC) == 1216
    assert KEY.public_key.key_id == hashlib.sha256(PUBLIC).digest()
    assert HybridPublicKey.parse(PUBLIC) == KEY.public_key
    assert len({HybridPublicKey.parse(PUBLIC), KEY.public_key}) == 1
    assert HybridPrivateKey.parse(PRIVATE) == KEY
    assert HybridPrivateKey.parse(PRIVATE[:-1] + bytes([PRIVATE[-1] ^ 0x40])) != KEY
    assert KEY != PRIVATE


@pytest.mark.parametrize("octets", [bytes(96), b"\xff" * 96, bytes(range(96))])
def test_any_96_octets_are_a_private_key(octets: bytes) -> None:
    key = HybridPrivateKey.parse(octets)
    assert key.open(key.public_key.seal(b"x", b"i"), b"i") == b"x"


@pytest.mark.parametrize("octets", [0, 32, 95, 97])
def test_a_private_key_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(KeyUnusable, match=f"{octets} octets"):
        HybridPrivateKey.parse(bytes(octets))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        PUBLIC[:-1],
        PUBLIC + b"\x00",
        b"\xff" * 1184 + PUBLIC[1184:],  # coefficients beyond q (FIPS 203 §7.2)
        PUBLIC[:1184] + bytes(32),  # points of small order
        PUBLIC[:1184] + b"\x01" + bytes(31),
    ],
    ids=["empty", "short", "long", "no encapsulation key", "zero point", "point of order one"],
)
def test_octets_that_are_no_public_key_are_refused(octets: bytes) -> None:
    with pytest.raises(Malformed, match="recipient key"):
        HybridPublicKey.parse(octets)


def test_a_private_key_shows_nothing_and_stays_where_it_is() -> None:
    for text in (repr(KEY), str(KEY), f"{[KEY]}"):
        assert "hidden" in text
        assert KEY.public_key.key_id.hex() in text
        assert PRIVATE[:8].hex() not in text
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(KEY, protocol)
    assert KEY.public_key.key_id.hex() in repr(KEY.public_key)


def test_the_suite_is_the_one_of_the_page() -> None:
    assert HPKE_CODE_POINTS == (0x647A, 1, 2)
    assert second_opinion.SUITE_ID[4:].hex() == "647a00010002"


@settings(max_examples=20)
@given(st.binary(max_size=200), st.binary(max_size=100))
def test_hpke_by_hand_opens_what_we_seal_and_the_other_way_round(
    plaintext: bytes, info: bytes
) -> None:
    sealed = KEY.public_key.seal(plaintext, info)
    assert len(sealed) == 1136 + len(plaintext)
    assert second_opinion.hpke_open(PRIVATE, sealed, info) == plaintext
    assert KEY.open(second_opinion.hpke_seal(PUBLIC, plaintext, info), info) == plaintext


def test_each_part_of_a_sealed_message_counts() -> None:
    """ML-KEM ciphertext, X25519 share, ciphertext and tag: one bit of any, and it does not open."""
    sealed = KEY.public_key.seal(b"plaintext", b"info")
    assert KEY.open(sealed, b"info") == b"plaintext"
    for at in (0, 500, 1087, 1088, 1119, 1120, 1128, 1129, len(sealed) - 1):
        altered = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(KeyMismatch):
            KEY.open(altered, b"info")


@pytest.mark.parametrize("length", [0, 1, 1119, 1120, 1135, 1136, 1144])
def test_a_truncated_message_does_not_open(length: int) -> None:
    with pytest.raises(KeyMismatch):
        KEY.open(KEY.public_key.seal(b"plaintext", b"info")[:length], b"info")


def test_another_context_does_not_open() -> None:
    sealed = KEY.public_key.seal(b"plaintext", b"info")
    assert KEY.open(sealed, b"info") == b"plaintext"
    with pytest.raises(KeyMismatch):
        KEY.open(sealed, b"inf0")


@pytest.mark.parametrize("at", [0, 70], ids=["ML-KEM half", "X25519 half"])
def test_half_of_the_key_does_not_open(at: int) -> None:
    """Whoever has broken one of the two algorithms has nothing."""
    sealed = KEY.public_key.seal(b"plaintext", b"info")
    half = HybridPrivateKey.parse(PRIVATE[:at] + bytes([PRIVATE[at] ^ 8]) + PRIVATE[at + 1 :])
    with pytest.raises(KeyMismatch):
        half.open(sealed, b"info")


def test_sealing_twice_gives_two_messages() -> None:
    assert KEY.public_key.seal(b"x", b"i")[:1120] != KEY.public_key.seal(b"x", b"i")[:1120]
