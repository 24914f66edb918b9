"""The certificates above a device's: the OEM's root and its issuing CA (docs/oem-pki.md).

Laid out by hand like the device's, since the key that signs may be in a token, which no builder
takes. Made once; randomness is the caller's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import SettingsError
from brski.idevid import certificate
from brski.pki import der, extensions, keys, signatures
from brski.pki.signer import PublicKey, Signer
from brski.registry import ID_CE_BASIC_CONSTRAINTS, ID_CE_KEY_USAGE

CERT_SERIAL_OCTETS: Final = 20
COMMON_NAME_CHARACTERS: Final = 64  # RFC 5280 App. A, ub-common-name

_TRUE: Final = der.encode(der.BOOLEAN, b"\xff")
_KEY_CERT_SIGN_CRL_SIGN: Final = der.encode(der.BIT_STRING, b"\x01\x06")  # bits 5 and 6


def build_ca_certificate(
    title: str,
    public_key: PublicKey,
    signer: Signer,
    *,
    issuer: x509.Certificate | None = None,
    path_length: int,
    created_at: datetime,
    cert_serial: bytes,
) -> x509.Certificate:
    """A CA's certificate, until 99991231235959Z.

    Args:
        title: the common name, 1 to 64 characters.
        public_key: the CA's.
        signer: holds the key of the CA above; for a root the CA's own.
        issuer: certificate of the CA above; None for a root.
        path_length: how many CAs may stand below it.
        created_at: aware, whole seconds.
        cert_serial: 20 random octets; the two top bits are set to 01.

    Raises:
        SettingsError: no title, or a longer one; a signer that is not the issuer's.
        KeyUnusable, Unavailable: the signer cannot sign.

    RFC 5280 §4.2.1.9, §4.2.1.3; docs/oem-pki.md.
    """
    subject = _encode_common_name(title)
    spki = keys.encode_spki(public_key)
    above = spki if issuer is None else keys.spki_of(issuer)
    if keys.encode_spki(signer.public_key) != above:
        raise SettingsError("the signer's key is not the issuer's")
    algorithm = signatures.signature_algorithm(signer.public_key)
    tbs = der.encode(
        der.SEQUENCE,
        certificate.VERSION_3,
        _encode_serial(cert_serial),
        algorithm,
        subject if issuer is None else issuer.subject.public_bytes(),
        certificate.encode_validity(created_at),
        subject,
        spki,
        certificate.encode_extensions(
            certificate.encode_extension(
                ID_CE_BASIC_CONSTRAINTS,
                der.encode(der.SEQUENCE, _TRUE, der.encode_integer(path_length)),
                critical=True,
            ),
            certificate.encode_extension(ID_CE_KEY_USAGE, _KEY_CERT_SIGN_CRL_SIGN, critical=True),
            certificate.encode_subject_key_identifier(extensions.key_identifier(spki)),
            certificate.encode_authority_key_identifier(extensions.key_identifier(above)),
        ),
    )
    octets = certificate.encode_certificate(tbs, algorithm, signer.sign(tbs))
    return keys.parse_certificate(octets)


def _encode_common_name(title: str) -> bytes:
    if not 1 <= len(title) <= COMMON_NAME_CHARACTERS or not title.isprintable():
        raise SettingsError(f"a CA's name has 1 to {COMMON_NAME_CHARACTERS} printable characters")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)]).public_bytes()


def _encode_serial(octets: bytes) -> bytes:
    if len(octets) != CERT_SERIAL_OCTETS:
        raise SettingsError(f"a certificate's number has {CERT_SERIAL_OCTETS} octets")
    first = octets[0] & 0x3F | 0x40
    return der.encode(der.INTEGER, bytes((first,)), octets[1:])
