"""A small CA inside the registrar: one issuing key, end-entity certificates only.

For a domain that has no PKI of its own. The certificate's profile is fixed (docs/est.md); what
varies is the subject, the key and the time.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from pydantic import Field

from brski.edge.settings import ExistingFile, Settings
from brski.edge.signers.file import load_signer
from brski.errors import CSRMismatch, KeyUnusable, StateError
from brski.idevid.certificate import (
    encode_authority_key_identifier,
    encode_certificate,
    encode_extension,
    encode_extensions,
    encode_subject_key_identifier,
)
from brski.pki import der
from brski.pki.extensions import key_identifier, subject_key_identifier
from brski.pki.keys import encode_spki
from brski.pki.signatures import signature_algorithm
from brski.pki.signer import Signer
from brski.registry import ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH
from registrar_plugin.ca_backend.port import LDevIDRequest, Pending

_TRUE: Final = der.encode(der.BOOLEAN, b"\xff")
_VERSION_3: Final = der.encode(0xA0, der.encode_integer(2))
_ID_CE_KEY_USAGE: Final = "2.5.29.15"
_ID_CE_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_ID_CE_EXT_KEY_USAGE: Final = "2.5.29.37"
_DIGITAL_SIGNATURE: Final = der.encode(der.BIT_STRING, b"\x07\x80")
_BACKDATED: Final = timedelta(minutes=5)  # devices whose clock is a little behind
_FIRST_GENERALIZED_YEAR: Final = 2050


class EmbeddedCASettings(Settings):
    """The table ``[ca]`` with ``kind = "embedded"``."""

    kind: str = "embedded"
    key: ExistingFile
    chain: ExistingFile
    validity_days: int = Field(default=365, ge=1, le=36_500)
    server_auth: bool = False


class EmbeddedCA:
    """Implements :class:`~registrar_plugin.ca_backend.port.CABackend`.

    Args:
        signer: its chain is the issuing CA first, the root last; it signs deterministically, so
            that one intent gives one certificate.
        validity_days: of an LDevID; never beyond the issuing certificate's end.
        server_auth: also put serverAuth into extendedKeyUsage, for devices that serve TLS.

    Raises:
        KeyUnusable: the first certificate of the chain may not sign certificates.
    """

    Settings = EmbeddedCASettings

    def __init__(self, signer: Signer, *, validity_days: int = 365, server_auth: bool = False):
        _check_issuing(signer.chain)
        issuing = signer.chain[0]
        identifier = subject_key_identifier(issuing) or key_identifier(
            encode_spki(signer.public_key)
        )
        usages = [ID_KP_CLIENT_AUTH, *([ID_KP_SERVER_AUTH] if server_auth else [])]
        self._signer = signer
        self._validity = timedelta(days=validity_days)
        self._algorithm = signature_algorithm(signer.public_key)
        self._issuer = issuing.subject.public_bytes()
        self._not_after = issuing.not_valid_after_utc
        self._usage = (
            _critical(_ID_CE_BASIC_CONSTRAINTS, der.encode(der.SEQUENCE)),
            _critical(_ID_CE_KEY_USAGE, _DIGITAL_SIGNATURE),
            encode_extension(
                _ID_CE_EXT_KEY_USAGE,
                der.encode(der.SEQUENCE, *(der.encode_oid(usage) for usage in usages)),
            ),
        )
        self._authority = encode_authority_key_identifier(identifier)

    @classmethod
    def open(cls, settings: EmbeddedCASettings) -> EmbeddedCA:
        """Load key and chain from the files that the settings name.

        Raises:
            KeyUnusable, FileUnusable: as :func:`brski.edge.signers.file.load_signer`.
        """
        return cls(
            load_signer(settings.key, settings.chain, deterministic=True),
            validity_days=settings.validity_days,
            server_auth=settings.server_auth,
        )

    def ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """Issuing CA first, root last."""
        return self._signer.chain

    def prepare(self, request: LDevIDRequest, *, now: datetime) -> bytes:
        """Lay out the TBSCertificate, DER, with a random serial of 20 octets (RFC 5280 §4.1.2.2).

        Raises:
            CSRMismatch: the issuing certificate has expired.
        """
        if now >= self._not_after:
            raise CSRMismatch("the domain's issuing CA certificate has expired")
        spki = encode_spki(request.public_key)
        return der.encode(
            der.SEQUENCE,
            _VERSION_3,
            der.encode(der.INTEGER, _random_serial()),
            self._algorithm,
            self._issuer,
            der.encode(
                der.SEQUENCE,
                _time(now - _BACKDATED),
                _time(min(now + self._validity, self._not_after)),
            ),
            request.subject.public_bytes(),
            spki,
            encode_extensions(
                *self._usage,
                encode_subject_key_identifier(key_identifier(spki)),
                self._authority,
            ),
        )

    async def complete(self, intent: bytes) -> x509.Certificate | Pending:
        """Sign the TBSCertificate *intent*.

        Raises:
            StateError: *intent* names another issuer than this CA, or is damaged.
        """
        if self._issuer not in intent:
            raise StateError("an open intent names an issuer that is not this CA")
        octets = encode_certificate(intent, self._algorithm, self._signer.sign(intent))
        try:
            return x509.load_der_x509_certificate(octets)
        except ValueError as err:
            raise StateError("an open intent is no TBSCertificate") from err

    async def close(self) -> None:
        """Nothing to give back."""


def _check_issuing(chain: Sequence[x509.Certificate]) -> None:
    if not chain:
        raise KeyUnusable("the CA's chain holds no certificate")
    try:
        constraints = chain[0].extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = chain[0].extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as err:
        raise KeyUnusable("the issuing certificate is not that of a CA") from err
    if not (constraints.ca and usage.key_cert_sign):
        raise KeyUnusable("the issuing certificate may not sign certificates")


def _random_serial() -> bytes:
    """20 octets, positive, of full length: top bit clear, the next one set."""
    octets = bytearray(secrets.token_bytes(20))
    octets[0] = octets[0] & 0x7F | 0x40
    return bytes(octets)


def _critical(oid: str, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(oid), _TRUE, der.encode(der.OCTET_STRING, value))


def _time(moment: datetime) -> bytes:
    """RFC 5280 §4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050 on."""
    utc = moment.astimezone(UTC)
    if utc.year < _FIRST_GENERALIZED_YEAR:
        return der.encode(der.UTC_TIME, utc.strftime("%y%m%d%H%M%SZ").encode())
    return der.encode(der.GENERALIZED_TIME, utc.strftime("%Y%m%d%H%M%SZ").encode())
