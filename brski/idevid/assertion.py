"""What a device without a certificate presents: its key, and the serial number that it asserts.

The assertion certificate is an envelope for a TLS handshake. Nothing in it is believed: that the
key belongs to the serial number, only the manufacturer's record tells (docs/identity.md). Its
layout is in docs/idevid-certificate.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography import x509

from brski.errors import KeyNotAllowed, Malformed, SignatureInvalid
from brski.idevid import certificate
from brski.pki import der, extensions, keys, names, signatures
from brski.pki.signer import PublicKey, Signer
from brski.registry import (
    ID_CE_AUTHORITY_KEY_IDENTIFIER,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
    ID_PE_MASA_URL,
)

_REMEMBERED: Final = 256  # ours: certificates whose octets have been read; one comes several times
_CERT_SERIAL: Final = der.encode_integer(1)
_VALIDITY: Final = certificate.encode_validity(datetime(2000, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertedIdentity:
    """What an assertion certificate says: one proven key, and three claims."""

    serial_number: str  # asserted
    idevid_issuer: bytes | None  # hint: 20-octet keyIdentifier of the issuer that would know it
    masa_url: str | None  # hint: value of the MASA-URL extension
    public_key: PublicKey  # proven by the handshake, not by this certificate
    spki: bytes  # SubjectPublicKeyInfo, cut from the certificate's DER


def assertion_certificate(
    signer: Signer,
    serial_number: str,
    *,
    idevid_issuer: bytes | None = None,
    masa_url: str | None = None,
) -> x509.Certificate:
    """Make the certificate that an asserting device shows in its handshakes.

    Args:
        signer: the key derived from the seed; where it is deterministic, so is the certificate.
        serial_number: the device's.
        idevid_issuer: 20-octet keyIdentifier of the OEM's issuer, when the device knows it.
        masa_url: value for the MASA-URL extension, when the device knows it.

    Raises:
        Malformed: a serial number that no certificate can hold, an *idevid_issuer* of another
            length, a *masa_url* that :func:`brski.pki.extensions.masa_base_url` refuses.
        KeyNotAllowed: see :func:`brski.pki.keys.check_public_key`.
        KeyUnusable: *signer* cannot sign now.

    docs/idevid-certificate.md.
    """
    public_key = signatures.public_key_of(signer)
    spki = keys.encode_spki(public_key)
    present = _encode_extensions(spki, idevid_issuer, masa_url)
    algorithm = signatures.signature_algorithm(public_key)
    tbs = _encode_tbs(algorithm, serial_number, spki, present.values())
    encoded = certificate.encode_certificate(tbs, algorithm, signer.sign(tbs))
    return keys.parse_certificate(encoded)


def is_asserted(chain: Sequence[x509.Certificate]) -> bool:
    """Whether a peer that showed *chain* asserts its serial number instead of carrying an IDevID.

    True for exactly one certificate, issued by its own subject, whose signature verifies under its
    own key. Anything else is carried. What else the certificate holds does not decide: an odd one
    is refused by :func:`read_assertion`, never tried again as the other kind.

    Args:
        chain: as presented, leaf first.

    docs/identity.md.
    """
    if len(chain) != 1:
        return False
    (only,) = chain
    return only.issuer == only.subject and _signed_itself(only)


@lru_cache(maxsize=_REMEMBERED)
def read_assertion(presented: x509.Certificate) -> AssertedIdentity:
    """Read the one certificate for which :func:`is_asserted` holds.

    Strict, since nothing honest differs: every field is the one that :func:`assertion_certificate`
    writes for the same key and claims, and the extensions are among its three, in any order.

    Args:
        presented: from :func:`brski.pki.keys.parse_certificate`; its signature has been verified.

    Raises:
        Malformed: another version, certificate serial number, name, validity or algorithm; an
            extension missing, critical, unknown or of other content.
        KeyNotAllowed: see :func:`brski.pki.keys.load_spki`.

    docs/idevid-certificate.md.
    """
    spki = keys.spki_of(presented)
    public_key = keys.load_spki(spki)
    serial_number = names.device_serial_number(presented)
    idevid_issuer = extensions.authority_key_identifier(presented)
    masa_url = extensions.masa_url(presented)
    claimed = _encode_extensions(spki, idevid_issuer, masa_url)
    order = [extension.oid.dotted_string for extension in presented.extensions]
    if sorted(order) != sorted(claimed):
        raise Malformed(f"assertion certificate with the extensions {', '.join(order) or 'none'}")
    algorithm = signatures.signature_algorithm(public_key)
    tbs = _encode_tbs(algorithm, serial_number, spki, [claimed[oid] for oid in order])
    expected = certificate.encode_certificate(tbs, algorithm, presented.signature)
    if expected != keys.certificate_der(presented):
        raise Malformed("assertion certificate with a field that is not as laid out")
    return AssertedIdentity(
        serial_number=serial_number,
        idevid_issuer=idevid_issuer,
        masa_url=masa_url,
        public_key=public_key,
        spki=spki,
    )


@lru_cache(maxsize=_REMEMBERED)
def _signed_itself(only: x509.Certificate) -> bool:
    try:
        signatures.verify(
            keys.public_key_of_certificate(only),
            only.signature,
            only.tbs_certificate_bytes,
            what="self-signed certificate",
        )
    except (SignatureInvalid, KeyNotAllowed):
        return False
    return True


def _encode_extensions(
    spki: bytes, idevid_issuer: bytes | None, masa_url: str | None
) -> dict[str, bytes]:
    """The DER Extensions of these claims by object identifier, in the order that we write."""
    identifier = extensions.key_identifier(spki)
    present = {ID_CE_SUBJECT_KEY_IDENTIFIER: certificate.encode_subject_key_identifier(identifier)}
    if idevid_issuer is not None:
        if len(idevid_issuer) != extensions.KEY_IDENTIFIER_OCTETS:
            raise Malformed(f"idevid-issuer of {len(idevid_issuer)} octets, not 20")
        present[ID_CE_AUTHORITY_KEY_IDENTIFIER] = certificate.encode_authority_key_identifier(
            idevid_issuer
        )
    if masa_url is not None:
        present[ID_PE_MASA_URL] = certificate.encode_masa_url(masa_url)
    return present


def _encode_tbs(
    algorithm: bytes, serial_number: str, spki: bytes, present: Iterable[bytes]
) -> bytes:
    name = certificate.encode_name(serial_number)
    return der.encode(
        der.SEQUENCE,
        certificate.VERSION_3,
        _CERT_SERIAL,
        algorithm,
        name,
        _VALIDITY,
        name,
        spki,
        certificate.encode_extensions(*present),
    )
