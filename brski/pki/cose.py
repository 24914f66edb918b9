"""COSE_Sign1 for the signed files of the method: seed batches, build lists, bundles.

A narrow profile, so that a signed file has one form: tag 18, a protected header of the algorithm
alone, which the key dictates, at most a key hint unprotected, the payload enclosed, deterministic
CBOR. A header that says anything else is refused, ``crit`` included, since it could change what the
signature means. Vouchers over COSE carry certificates and are another profile. RFC 9052 §4.2; RFC
9053 §2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from brski.errors import KeyNotAllowed, Malformed, SignatureInvalid, UnknownFormat
from brski.pki import cbor, signatures
from brski.pki.signer import PublicKey, Signer

KEY_HINT_LIMIT: Final = 64  # octets
MAX_OCTETS: Final = 1 << 26  # a build list of a million devices is about 40 MB

_TAG_18: Final = b"\xd2"  # COSE_Sign1, RFC 9052 §2
_KID: Final = 4  # RFC 9052 §3.1
_SECTION: Final = "RFC 9052 §4.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Algorithm:
    name: str
    protected: bytes  # the protected header: a map of label 1 (alg) and nothing else
    coordinate_octets: int | None  # of r and of s; None where signatures are raw already


_ES256: Final = _Algorithm(name="ES256", protected=cbor.encode({1: -7}), coordinate_octets=32)
_ES384: Final = _Algorithm(name="ES384", protected=cbor.encode({1: -35}), coordinate_octets=48)
_EDDSA: Final = _Algorithm(name="EdDSA", protected=cbor.encode({1: -8}), coordinate_octets=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    protected: bytes
    key_hint: bytes | None
    payload: bytes
    signature: bytes


def sign1(
    payload: bytes, signer: Signer, *, external_aad: bytes, key_hint: bytes | None = None
) -> bytes:
    """Sign *payload* and enclose it.

    Args:
        payload: any octets, signed as they are.
        signer: its key dictates ES256, ES384 or EdDSA.
        external_aad: what kind of thing is signed, such as ``b"brski seed batch v1"``. It is not
            enclosed: the reader must know it, so that a signature on one kind of file is none on
                another.
        key_hint: for ``kid``, unprotected, at most 64 octets: which key a reader could try.

    Returns:
        COSE_Sign1, tagged.

    Raises:
        KeyNotAllowed: the signer's key is of another kind.
        KeyUnusable: the key cannot sign now.
        Malformed: *key_hint* is too long.

    RFC 9052 §4.4.
    """
    algorithm = _algorithm_of(signer.public_key)
    unprotected: dict[int | str, bytes] = {}
    if key_hint is not None:
        unprotected[_KID] = _check_key_hint(key_hint)
    signature = signer.sign(_to_be_signed(algorithm, external_aad, payload))
    raw = _to_raw(signature, algorithm)
    return _TAG_18 + cbor.encode([algorithm.protected, unprotected, payload, raw])


def verify1(
    message: bytes, public_key: PublicKey, *, external_aad: bytes, max_octets: int = MAX_OCTETS
) -> bytes:
    """Return the payload of *message*, if *public_key* has signed it for this use.

    Args:
        message: COSE_Sign1, tagged, as received.
        public_key: from configuration; a ``kid`` in the message is not looked at.
        external_aad: as given to :func:`sign1`.
        max_octets: of the whole message.

    Returns:
        The payload, raw; nothing but its signature has been judged.

    Raises:
        SignatureInvalid: another key, another use, or altered.
        UnknownFormat: the protected header is not the key's algorithm and that alone.
        Malformed: not this profile of COSE_Sign1, or octets after it.
        TooLarge: more than *max_octets*.
        KeyNotAllowed: a key of another kind than P-256, P-384 and Ed25519.

    RFC 9052 §4.4.
    """
    algorithm = _algorithm_of(public_key)
    parts = _parse(message, max_octets)
    if parts.protected != algorithm.protected:
        raise UnknownFormat(
            f"protected header {parts.protected[:32].hex()} is not {algorithm.protected.hex()}: "
            f"{algorithm.name} alone, which the key dictates",
            section=_SECTION,
        )
    signatures.verify(
        public_key,
        _from_raw(parts.signature, algorithm),
        _to_be_signed(algorithm, external_aad, parts.payload),
        what="COSE_Sign1",
    )
    return parts.payload


def unverified_payload(message: bytes, *, max_octets: int = MAX_OCTETS) -> bytes:
    """The payload of *message* before any signature was verified.

    Only for reading who claims to have signed, so that the key can be taken from configuration;
    what is acted on comes from :func:`verify1`.

    Raises:
        Malformed, TooLarge: as :func:`verify1`.

    RFC 9052 §4.2.
    """
    return _parse(message, max_octets).payload


def key_hint_of(message: bytes, *, max_octets: int = MAX_OCTETS) -> bytes | None:
    """The ``kid`` of *message*: unprotected, unverified; None where there is none.

    Raises:
        Malformed, TooLarge: as :func:`verify1`.

    RFC 9052 §3.1.
    """
    return _parse(message, max_octets).key_hint


def _algorithm_of(public_key: PublicKey) -> _Algorithm:
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return _EDDSA
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        if isinstance(public_key.curve, ec.SECP256R1):
            return _ES256
        if isinstance(public_key.curve, ec.SECP384R1):
            return _ES384
    raise KeyNotAllowed("COSE is signed with P-256, P-384 or Ed25519 keys", section="RFC 9053 §2")


def _to_be_signed(algorithm: _Algorithm, external_aad: bytes, payload: bytes) -> bytes:
    return cbor.encode(["Signature1", algorithm.protected, external_aad, payload])


def _to_raw(signature: bytes, algorithm: _Algorithm) -> bytes:
    if algorithm.coordinate_octets is None:
        return signature
    r, s = decode_dss_signature(signature)
    return b"".join(number.to_bytes(algorithm.coordinate_octets, "big") for number in (r, s))


def _from_raw(signature: bytes, algorithm: _Algorithm) -> bytes:
    size = algorithm.coordinate_octets
    if size is None:
        return signature
    if len(signature) != 2 * size:
        raise SignatureInvalid(
            f"signature of {len(signature)} octets, {algorithm.name} has {2 * size}",
            section="RFC 9053 §2.1",
        )
    r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    return encode_dss_signature(r, s)


def _parse(message: bytes, max_octets: int) -> _Parts:
    if not message.startswith(_TAG_18):
        raise _malformed("no tag 18")
    match cbor.decode(message[1:], max_octets=max_octets):
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
            return _Parts(
                protected=protected,
                key_hint=_read_key_hint(unprotected),
                payload=payload,
                signature=signature,
            )
        case _:
            raise _malformed("not headers, payload and signature")


def _read_key_hint(unprotected: dict[int | str, cbor.Item]) -> bytes | None:
    if not unprotected:
        return None
    key_hint = unprotected.get(_KID)
    if len(unprotected) != 1 or not isinstance(key_hint, bytes):
        raise _malformed("an unprotected header with more than a kid")
    return _check_key_hint(key_hint)


def _check_key_hint(key_hint: bytes) -> bytes:
    if len(key_hint) > KEY_HINT_LIMIT:
        raise _malformed(f"a kid of {len(key_hint)} octets, {KEY_HINT_LIMIT} are the most")
    return key_hint


def _malformed(why: str) -> Malformed:
    return Malformed(f"COSE_Sign1: {why}", section=_SECTION)
