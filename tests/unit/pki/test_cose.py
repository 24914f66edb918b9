"""COSE_Sign1, in both directions against an independent implementation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cbor2
import cwt
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import (
    KeyNotAllowed,
    Malformed,
    OnboardingError,
    SignatureInvalid,
    TooLarge,
    UnknownFormat,
)
from brski.pki import cose
from brski.pki.keys import parse_certificate
from tests.kit import pki

KINDS = ("P-256", "P-384", "Ed25519")
KEYS: dict[str, Any] = {kind: pki.make_key(kind) for kind in KINDS}
ALGORITHMS = {"P-256": -7, "P-384": -35, "Ed25519": -8}
AAD = b"brski test v1"
PAYLOAD = b"payload"


def _signed(kind: str = "P-256", payload: bytes = PAYLOAD, **options: Any) -> bytes:
    return cose.sign1(payload, pki.KeySigner(KEYS[kind]), external_aad=AAD, **options)


def _verify(message: bytes, kind: str = "P-256") -> bytes:
    return cose.verify1(message, KEYS[kind].public_key(), external_aad=AAD)


def _forge(
    kind: str = "P-256",
    *,
    protected: Mapping[Any, Any] | bytes | None = None,
    unprotected: Any = None,
    payload: Any = PAYLOAD,
) -> bytes:
    """A message whose signature is right for whatever headers it has."""
    if protected is None:
        protected = {1: ALGORITHMS[kind]}
    octets = protected if isinstance(protected, bytes) else cbor2.dumps(protected)
    tbs = cbor2.dumps(["Signature1", octets, AAD, payload])
    algorithm = cose._algorithm_of(KEYS[kind].public_key())
    signature = cose._to_raw(pki.KeySigner(KEYS[kind]).sign(tbs), algorithm)
    parts = [octets, {} if unprotected is None else unprotected, payload, signature]
    return cbor2.dumps(cbor2.CBORTag(18, parts))


@pytest.mark.parametrize("kind", KINDS)
@given(payload=st.binary(max_size=400))
def test_what_is_signed_comes_back(kind: str, payload: bytes) -> None:
    assert _verify(_signed(kind, payload), kind) == payload


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65535, 65536])
def test_payloads_of_each_length_form(size: int) -> None:
    message = _signed(payload=bytes(size))
    assert _verify(message) == bytes(size)
    assert cbor2.loads(message).value[2] == bytes(size)


@pytest.mark.parametrize("kind", KINDS)
def test_form_on_the_wire(kind: str) -> None:
    """Tag 18; protected header of the algorithm alone; raw r and s."""
    message = cbor2.loads(_signed(kind))
    assert message.tag == 18
    protected, unprotected, payload, signature = message.value
    assert cbor2.loads(protected) == {1: ALGORITHMS[kind]}
    assert dict(unprotected) == {}
    assert payload == PAYLOAD
    assert len(signature) == {"P-256": 64, "P-384": 96, "Ed25519": 64}[kind]
    assert _signed(kind) == _forge(kind) == _signed(kind)


# -- the second implementation
def _cwt_key(kind: str, *, private: bool) -> Any:
    key = KEYS[kind]
    if private:
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    else:
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return cwt.COSEKey.from_pem(pem.decode(), kid="key 1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key_hint", [None, b"key 1"])
def test_cwt_verifies_ours(kind: str, key_hint: bytes | None) -> None:
    message = _signed(kind, key_hint=key_hint)
    verifier = cwt.COSE.new(verify_kid=False)
    assert verifier.decode(message, _cwt_key(kind, private=False), external_aad=AAD) == PAYLOAD
    with pytest.raises(cwt.VerifyError):
        verifier.decode(message, _cwt_key(kind, private=False), external_aad=b"other")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unprotected", [{}, {4: b"key 1"}])
def test_ours_verifies_cwt(kind: str, unprotected: dict[int, bytes]) -> None:
    message = cwt.COSE.new().encode_and_sign(
        PAYLOAD,
        _cwt_key(kind, private=True),
        protected={1: ALGORITHMS[kind]},
        unprotected=unprotected,
        external_aad=AAD,
    )
    assert _verify(message, kind) == PAYLOAD
    assert cose.key_hint_of(message) == unprotected.get(4)
    with pytest.raises(SignatureInvalid):
        cose.verify1(message, KEYS[kind].public_key(), external_aad=b"other")


# -- what is not verified
@pytest.mark.parametrize("kind", KINDS)
def test_signature_for_another_use_or_under_another_key_is_refused(kind: str) -> None:
    """A signed build list is no signed seed batch."""
    message = _signed(kind)
    for aad in (b"", AAD + b".", b"brski build list v1"):
        with pytest.raises(SignatureInvalid):
            cose.verify1(message, KEYS[kind].public_key(), external_aad=aad)
    with pytest.raises(SignatureInvalid):
        cose.verify1(message, pki.make_key(kind).public_key(), external_aad=AAD)


@pytest.mark.parametrize("kind", KINDS)
def test_altered_payload_and_signature_are_refused(kind: str) -> None:
    message = _signed(kind)
    for position in (message.index(PAYLOAD), len(message) - 1):
        altered = bytearray(message)
        altered[position] ^= 1
        with pytest.raises(SignatureInvalid):
            _verify(bytes(altered), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_signature_of_another_length_is_refused(kind: str) -> None:
    protected, unprotected, payload, signature = cbor2.loads(_signed(kind)).value
    for wrong in (b"", signature[:-1], signature + b"\0", bytes(len(signature))):
        parts = [protected, dict(unprotected), payload, wrong]
        with pytest.raises(SignatureInvalid):
            _verify(cbor2.dumps(cbor2.CBORTag(18, parts)), kind)


@pytest.mark.parametrize("kind", ["P-256", "P-384"])
def test_the_same_signature_with_longer_numbers_is_refused(kind: str) -> None:
    """Leading zeros change no number; a second form of one signed file would pass as another."""
    protected, _, payload, signature = cbor2.loads(_signed(kind)).value
    half = len(signature) // 2
    r, s = signature[:half], signature[half:]
    for longer in (r + b"\0" + s, b"\0" + r + b"\0" + s):
        with pytest.raises(SignatureInvalid):
            _verify(cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, longer])), kind)


def test_signature_in_der_is_refused() -> None:
    protected, _, payload, _ = cbor2.loads(_signed()).value
    tbs = cbor2.dumps(["Signature1", protected, AAD, payload])
    der = pki.KeySigner(KEYS["P-256"]).sign(tbs)
    with pytest.raises(SignatureInvalid):
        _verify(cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, der])))


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_dictates_the_algorithm(kind: str) -> None:
    """A message may not choose, not even a wrong name for a right signature."""
    assert _verify(_forge(kind), kind) == PAYLOAD
    for wrong in (-7, -35, -8, -36, -37, -257, 5, 0, "ES256", -9, -19):
        if wrong != ALGORITHMS[kind]:
            with pytest.raises(UnknownFormat):
                _verify(_forge(kind, protected={1: wrong}), kind)


@pytest.mark.parametrize(
    "protected",
    [
        b"",
        b"\xa0",
        {},
        {1: -7, 2: [1]},
        {1: -7, 2: [42], 42: 0},
        {1: -7, 3: 0},
        {1: -7, 4: b"kid"},
        {1: -7, 15: {}},
        {1: -7, 33: b"certificate"},
        {"alg": -7},
        b"\xa1\x01\x38\x06",
        b"\xa2\x01\x26\x01\x26",
        b"\xbf\x01\x26\xff",
        b"\xa1\x01\x26\x00",
        b"\xa1\x18\x01\x26",
    ],
)
def test_protected_header_of_anything_but_the_algorithm_is_refused(protected: Any) -> None:
    """``crit`` (2) and unknown labels could change the meaning: neither obeyed nor ignored."""
    with pytest.raises(UnknownFormat):
        _verify(_forge(protected=protected))


@pytest.mark.parametrize(
    "unprotected",
    [
        {1: -7},
        {2: [1]},
        {33: b"certificate"},
        {4: b"kid", 5: b"iv"},
        {4: "kid"},
        {4: bytes(65)},
        {"4": b"kid"},
        [],
        b"",
        None,
    ],
)
def test_unprotected_header_of_anything_but_a_key_hint_is_refused(unprotected: Any) -> None:
    parts = list(cbor2.loads(_signed()).value)
    parts[1] = unprotected
    with pytest.raises(Malformed):
        _verify(cbor2.dumps(cbor2.CBORTag(18, parts)))


def test_key_hint_is_a_hint() -> None:
    """It is unprotected: altered or taken away, the signature holds; it never selects trust."""
    message = _signed(key_hint=b"key 1")
    assert cose.key_hint_of(message) == b"key 1"
    assert _verify(message) == PAYLOAD
    other = message.replace(b"key 1", b"key 2")
    assert cose.key_hint_of(other) == b"key 2"
    assert _verify(other) == PAYLOAD
    assert cose.key_hint_of(_signed()) is None
    _signed(key_hint=bytes(64))
    with pytest.raises(Malformed):
        _signed(key_hint=bytes(65))


def test_unverified_payload_is_read_whoever_signed() -> None:
    """It tells who claims to have signed; an altered payload comes out just the same."""
    assert cose.unverified_payload(_signed()) == PAYLOAD
    altered = _signed().replace(PAYLOAD, b"PAYLOAD")
    assert cose.unverified_payload(altered) == b"PAYLOAD"
    with pytest.raises(SignatureInvalid):
        _verify(altered)


def _with_payload(payload: Any) -> bytes:
    parts = list(cbor2.loads(_signed()).value)
    return cbor2.dumps(cbor2.CBORTag(18, [parts[0], {}, payload, parts[3]]))


SIGNED = _signed()
OTHER_FORMS = {
    "untagged": SIGNED[1:],
    "COSE_Sign": b"\xd8\x62" + SIGNED[1:],
    "COSE_Mac0": b"\xd1" + SIGNED[1:],
    "tag in two octets": b"\xd8\x12" + SIGNED[1:],
    "tagged twice": b"\xd2" + SIGNED,
    "CWT tag around": b"\xd8\x3d" + SIGNED,
    "self-described": b"\xd9\xd9\xf7" + SIGNED,
    "detached payload": _with_payload(None),
    "payload that is text": _with_payload("payload"),
    "payload that is a map": _with_payload({}),
    "octets after it": SIGNED + b"\0",
    "twice": SIGNED + SIGNED,
    "five parts": b"\xd2\x85" + SIGNED[2:] + b"\x40",
    "three parts": b"\xd2\x83" + SIGNED[2:-66],
    "indefinite array": b"\xd2\x9f" + SIGNED[2:] + b"\xff",
    "indefinite payload": SIGNED.replace(b"\x47payload", b"\x5f\x47payload\xff"),
    "longer head than needed": SIGNED.replace(b"\x47payload", b"\x58\x07payload"),
    "protected header twice as long a head": SIGNED.replace(b"\x43\xa1", b"\x58\x03\xa1"),
    "key hint twice": SIGNED.replace(b"\xa0", b"\xa2\x04\x41a\x04\x41b", 1),
    "map": b"\xd2\xa0",
    "nothing": b"",
    "tag alone": b"\xd2",
    "length beyond the end": b"\xd2\x84\x43\xa1\x01\x26\xa0\x5b" + b"\xff" * 8,
}


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_other_forms_are_refused(name: str) -> None:
    with pytest.raises(Malformed):
        _verify(OTHER_FORMS[name])
    with pytest.raises(Malformed):
        cose.key_hint_of(OTHER_FORMS[name])
    with pytest.raises(Malformed):
        cose.unverified_payload(OTHER_FORMS[name])


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_at_each_octet_is_refused(kind: str) -> None:
    message = _signed(kind, key_hint=b"k")
    for cut in range(len(message)):
        with pytest.raises(Malformed):
            _verify(message[:cut], kind)


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_no_altered_octet_is_accepted(position: int, flip: int) -> None:
    """One form, all of it fixed: every single change is noticed."""
    altered = bytearray(SIGNED)
    altered[position] ^= flip
    with pytest.raises(OnboardingError):
        _verify(bytes(altered))


@given(st.binary(max_size=200))
def test_noise_never_breaks(noise: bytes) -> None:
    for message in (noise, b"\xd2\x84" + noise, SIGNED[:20] + noise):
        with pytest.raises(OnboardingError):
            _verify(message)


def test_size_is_bounded() -> None:
    with pytest.raises(TooLarge):
        cose.verify1(SIGNED, KEYS["P-256"].public_key(), external_aad=AAD, max_octets=50)
    with pytest.raises(TooLarge):
        cose.key_hint_of(SIGNED, max_octets=50)
    with pytest.raises(TooLarge):
        cose.unverified_payload(SIGNED, max_octets=50)


@pytest.mark.parametrize("kind", ["RSA-2048", "P-521"])
def test_other_keys_neither_sign_nor_verify(kind: str) -> None:
    key = pki.make_key(kind)
    with pytest.raises(KeyNotAllowed):
        cose.sign1(PAYLOAD, pki.KeySigner(key), external_aad=AAD)
    with pytest.raises(KeyNotAllowed):
        cose.verify1(SIGNED, key.public_key(), external_aad=AAD)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_input_gives_the_same_octets(kind: str) -> None:
    """With a deterministic signer, so that a factory killed and restarted writes the same file."""
    assert _signed(kind, key_hint=b"k") == _signed(kind, key_hint=b"k")


def test_published_pledge_request_verifies(vectors: Path) -> None:
    """The constrained-voucher draft's PVR: tag 18, ES256, no external data."""
    folder = vectors / "cbrski-cose"
    message = bytes.fromhex((folder / "pvr.hex").read_text().strip())
    pledge: Any = parse_certificate((folder / "pledge.der").read_bytes()).public_key()
    payload = cose.verify1(message, pledge, external_aad=b"")
    assert payload == bytes.fromhex((folder / "pvr-nonsigned.hex").read_text().strip())
    with pytest.raises(SignatureInvalid):
        cose.verify1(message, pledge, external_aad=AAD)


def test_published_registrar_request_is_of_another_profile(vectors: Path) -> None:
    """It carries certificates unprotected (x5bag), which signed files here do not."""
    message = bytes.fromhex((vectors / "cbrski-cose" / "rvr.hex").read_text().strip())
    registrar: Any = parse_certificate(
        (vectors / "cbrski-cose" / "registrar.der").read_bytes()
    ).public_key()
    with pytest.raises(Malformed):
        cose.verify1(message, registrar, external_aad=b"")
