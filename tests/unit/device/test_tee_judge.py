"""What a signer signs, and the nearest things that it does not."""

from __future__ import annotations

import hashlib
import os

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import Malformed, NotSignedHere, TooLarge
from brski.est.csr import build_csr
from brski.pki import cbor, names
from brski.voucher.cms import CMS
from brski.voucher.signed_data import encode_attributes, read_own_attributes
from device_client.identity.tee import wire
from device_client.identity.tee.judge import check_may_be_signed
from tests.kit import pki
from tests.kit.device import World
from tests.kit.elsewhere import Elsewhere

WORLD = World.make()
IDENTITY = WORLD.identity()
SHOWN = IDENTITY.client_chain[0].public_bytes(Encoding.DER)
TLS13 = b" " * 64 + b"TLS 1.3, client CertificateVerify\x00"
DIGEST = hashlib.sha256(b"x").digest()


def message(kind: int, body: bytes = b"") -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def certificate_list(*certificates: bytes) -> bytes:
    entries = b"".join(len(each).to_bytes(3, "big") + each for each in certificates)
    return message(11, len(entries).to_bytes(3, "big") + entries)


def handshake(shown: bytes = SHOWN) -> list[bytes]:
    server = certificate_list(WORLD.registrar.der)
    return [
        message(1, b"hello"), message(2, b"hello"), server, message(12, b"key"),
        message(13, b"whom"), message(14), certificate_list(shown), message(16, b"key"),
    ]  # fmt: skip


def attributes(digest: bytes = DIGEST, moment: object = pki.NOW) -> bytes:
    laid_out = encode_attributes(digest, moment)  # type: ignore[arg-type]
    return b"\x31" + bytes([len(laid_out)]) + laid_out


def check(data: bytes, digest_octets: int = 32) -> None:
    check_may_be_signed(data, certificate_der=SHOWN, digest_octets=digest_octets)


def signed_in_an_onboarding() -> list[bytes]:
    key = Elsewhere(IDENTITY.signer())
    CMS.sign(b'{"a": 1}', key, certificates=(), signing_time=pki.NOW)
    CMS.sign(b'{"a": 1}', key, certificates=(), signing_time=None)
    return key.signed


@pytest.mark.parametrize(
    "data",
    [
        TLS13 + bytes(32),
        TLS13 + bytes(48),
        b"".join(handshake()),
        attributes(),
        attributes(moment=None),
        *signed_in_an_onboarding(),
    ],
)
def test_what_an_onboarding_signs_is_signed(data: bytes) -> None:
    """TLS 1.3, TLS 1.2, a voucher-request with its time or without."""
    check(data)


def without(number: int) -> bytes:
    messages = handshake()
    del messages[number]
    return b"".join(messages)


NOT_SIGNED = {
    "nothing": b"",
    "text": b"hello",
    "a digest": DIGEST,
    "TLS 1.3, the server's": TLS13.replace(b"client", b"server") + bytes(32),
    "TLS 1.3, a hash too short": TLS13 + bytes(31),
    "TLS 1.3, a hash too long": TLS13 + bytes(49),
    "TLS 1.3, no zero": TLS13[:-1] + b"\x01" + bytes(32),
    "TLS 1.3, spaces alone": b" " * 130,
    "TLS 1.2, another client": b"".join(handshake(WORLD.registrar.der)),
    "TLS 1.2, no client": b"".join([*handshake()[:6], certificate_list(), handshake()[7]]),
    "TLS 1.2, more after it": b"".join([*handshake(), message(20, b"x")]),
    "TLS 1.2, cut": b"".join(handshake())[:-1],
    "TLS 1.2, a head alone": b"".join(handshake()) + b"\x01",
    "TLS 1.2, out of order": b"".join(reversed(handshake())),
    "TLS 1.2, a ClientHello alone": message(1, b"hello"),
    **{f"TLS 1.2 without {number}": without(number) for number in range(8)},
    "CMS, a digest of another algorithm": attributes(bytes(48)),
    "CMS, another content type": attributes().replace(b"\x10\x01\x28", b"\x10\x01\x29"),
    "CMS, an octet more": attributes() + b"\x00",
    "CMS, an octet less": attributes()[:-1],
    "CMS, under [0]": b"\xa0" + attributes()[1:],
    "CMS, no attributes": b"\x31\x00",
    "a certificate": SHOWN,
    "a TBSCertificate": IDENTITY.client_chain[0].tbs_certificate_bytes,
    "a CSR": build_csr(pki.KeySigner(pki.make_key()), names.idevid_subject("SN-1")),
    "COSE": cbor.encode(["Signature1", b"", b"", b"x"]),
}


@pytest.mark.parametrize("data", NOT_SIGNED.values(), ids=list(NOT_SIGNED))
def test_nothing_else_is_signed(data: bytes) -> None:
    """Whoever asks."""
    with pytest.raises(NotSignedHere):
        check(data)


def test_a_further_attribute_is_not_signed() -> None:
    """What is laid out here has three; a fourth could say anything."""
    more = bytes.fromhex("3010060a2b0601040182371901013102 0500".replace(" ", ""))
    laid_out = b"".join(sorted([encode_attributes(DIGEST, None), more]))
    data = b"\x31" + bytes([len(laid_out)]) + laid_out
    with pytest.raises(NotSignedHere):
        check(data)
    with pytest.raises(Malformed):
        read_own_attributes(data)


def test_a_p384_key_signs_its_own_digests() -> None:
    """48 octets; 32 are another key's."""
    check(attributes(bytes(48)), digest_octets=48)
    with pytest.raises(NotSignedHere):
        check(attributes(), digest_octets=48)


@given(st.binary(max_size=300))
def test_random_octets_are_refused(data: bytes) -> None:
    """And raise nothing else."""
    with pytest.raises(NotSignedHere):
        check(data)


@given(
    st.sampled_from([b"".join(handshake()), attributes(), TLS13 + bytes(32)]),
    st.integers(min_value=0),
    st.integers(min_value=1, max_value=255),
)
def test_a_changed_octet_is_refused_or_of_the_same_shape(data: bytes, at: int, by: int) -> None:
    """Never another error."""
    octets = bytearray(data)
    octets[at % len(data)] ^= by
    try:
        check(bytes(octets))
    except NotSignedHere:
        return
    assert octets[0] == data[0]


# -- the octets of a conversation


def test_the_frame_of_the_page() -> None:
    """docs/tee.md, octet by octet."""
    frame = wire.encode_frame(wire.encode_sign(b"ab"))
    assert frame.hex() == (
        "00000025" "a3" "626f70" "647369676e" "6464617461" "426162"
        "66666f726d6174" "6c6272736b6920746565207631"
    )  # fmt: skip
    assert wire.parse_head(frame[:4]) == len(frame) - 4
    assert wire.parse_request(frame[4:]) == b"ab"
    assert wire.parse_request(wire.encode_describe()) is None


@pytest.mark.parametrize("length", [0, wire.FRAME_LIMIT + 1, 2**32 - 1])
def test_a_frame_without_content_or_with_too_much_is_refused(length: int) -> None:
    """Of neither is anything read."""
    with pytest.raises(Malformed):
        wire.parse_head(length.to_bytes(4, "big"))
    assert wire.parse_head((1).to_bytes(4, "big")) == 1
    assert wire.parse_head(wire.FRAME_LIMIT.to_bytes(4, "big")) == wire.FRAME_LIMIT


@pytest.mark.parametrize(
    "item",
    [
        {"op": "describe", "format": "brski tee v2"},
        {"op": "describe"},
        {"op": "describe", "format": wire.FORMAT, "data": b"x"},
        {"op": "sign", "format": wire.FORMAT},
        {"op": "sign", "format": wire.FORMAT, "data": ""},
        {"op": "sign", "format": wire.FORMAT, "data": b""},
        {"op": "sign", "format": wire.FORMAT, "data": bytes(wire.DATA_LIMIT + 1)},
        {"op": "sign", "format": wire.FORMAT, "data": b"x", "digest": "sha1"},
        {"op": "export", "format": wire.FORMAT},
        {0: 1},
        [],
        "describe",
    ],
)
def test_other_requests_are_refused(item: object) -> None:
    """A key unknown or missing, another format, another operation."""
    with pytest.raises(Malformed):
        wire.parse_request(cbor.encode(item))  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_random_requests_are_refused(octets: bytes) -> None:
    """As malformed, or as too large."""
    with pytest.raises((Malformed, TooLarge)):
        wire.parse_request(octets)


def test_answers() -> None:
    """A signature is no error, an error no signature, and neither is garbage."""
    signature, error = wire.encode_signature(b"s"), wire.encode_error(wire.MALFORMED)
    assert wire.parse_signature(signature) == b"s"
    assert wire.error_of(error) == "malformed"
    assert wire.error_of(signature) == wire.error_of(os.urandom(9)) == ""
    with pytest.raises(Malformed):
        wire.parse_signature(error)
    with pytest.raises(TooLarge):
        wire.encode_sign(bytes(wire.DATA_LIMIT + 1))
    with pytest.raises(TooLarge):
        wire.encode_frame(bytes(wire.FRAME_LIMIT + 1))
