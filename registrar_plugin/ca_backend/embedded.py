"""A small CA inside the registrar: one issuing key, end-entity certificates and revocation lists.

For a domain that has no PKI of its own. The certificate's profile is fixed (docs/ca.md); what
varies is the subject, the key and the time. What it lays out passes the lint before anybody keeps
it, and again before it is signed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

from cryptography import x509
from pydantic import Field

from brski.edge.settings import ExistingFile, Settings
from brski.edge.signers.file import load_chain, load_signer
from brski.errors import KeyUnusable, StateError
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
from brski.registry import (
    ID_CE_BASIC_CONSTRAINTS,
    ID_CE_EXT_KEY_USAGE,
    ID_CE_KEY_USAGE,
    ID_CE_SUBJECT_ALT_NAME,
    ID_KP_CLIENT_AUTH,
    ID_KP_SERVER_AUTH,
)
from registrar_plugin.ca_backend.crl import (
    CRLIssuer,
    encode_crl,
    encode_tbs_crl,
    scope_of_tbs,
)
from registrar_plugin.ca_backend.key_files import KeyFiles
from registrar_plugin.ca_backend.layout import VERSION_3, encode_distribution_point, encode_time
from registrar_plugin.ca_backend.lint.certificate import check_certificate
from registrar_plugin.ca_backend.port import LDevIDRequest, Pending
from registrar_plugin.ca_backend.rollover import check_rollover

_BACKDATED: Final = timedelta(minutes=5)  # devices whose clock is a little behind
_DIGITAL_SIGNATURE: Final = der.encode(der.BIT_STRING, b"\x07\x80")
CRLAddress = Annotated[
    str, Field(max_length=512, pattern=r"^http://[A-Za-z0-9.:\[\]-]+/[A-Za-z0-9._~/-]*$")
]


class EmbeddedCASettings(Settings):
    """The table ``[ca]`` with ``kind = "embedded"``."""

    kind: str = "embedded"
    key: ExistingFile
    chain: ExistingFile
    validity_days: int = Field(default=365, ge=1, le=36_500)
    server_auth: bool = False
    rollover: ExistingFile | None = None
    crl_url: CRLAddress | None = None


class EmbeddedCA:
    """Implements :class:`~registrar_plugin.ca_backend.port.CABackend` and
    :class:`~registrar_plugin.ca_backend.port.CRLSigner`.

    Args:
        signer: its chain is the issuing CA first, the root last; it signs deterministically, so
            that one intent gives one certificate.
        validity_days: of an LDevID; never beyond the issuing certificate's end.
        server_auth: also put serverAuth into extendedKeyUsage, for devices that serve TLS.
        rollover: what else devices are told of, while the root's key changes
            (:mod:`registrar_plugin.ca_backend.rollover`).
        crl_url: where issued certificates say that the revocation list is; None: nowhere.
        files: that *signer* was loaded from.

    Raises:
        KeyUnusable: the first certificate of the chain may not sign certificates.
        ChainInvalid: a rollover certificate that has nothing to do with the chain.
    """

    Settings = EmbeddedCASettings

    def __init__(
        self,
        signer: Signer,
        *,
        validity_days: int = 365,
        server_auth: bool = False,
        rollover: Sequence[x509.Certificate] = (),
        crl_url: str | None = None,
        files: KeyFiles | None = None,
    ) -> None:
        _check_issuing(signer.chain)
        check_rollover(signer.chain, rollover)
        issuing = signer.chain[0]
        identifier = subject_key_identifier(issuing) or key_identifier(
            encode_spki(signer.public_key)
        )
        self._signer = signer
        self._issuing = issuing
        self._rollover = tuple(rollover)
        self._files = files
        self._validity = timedelta(days=validity_days)
        self._algorithm = signature_algorithm(signer.public_key)
        self._issuer = issuing.subject.public_bytes()
        self._not_after = issuing.not_valid_after_utc
        self._purposes = (ID_KP_CLIENT_AUTH, *((ID_KP_SERVER_AUTH,) if server_auth else ()))
        self._same_in_all = (
            encode_extension(ID_CE_BASIC_CONSTRAINTS, der.encode(der.SEQUENCE), critical=True),
            encode_extension(ID_CE_KEY_USAGE, _DIGITAL_SIGNATURE, critical=True),
            encode_authority_key_identifier(identifier),
            *(() if crl_url is None else (encode_distribution_point(crl_url),)),
        )
        self._crl_issuer = CRLIssuer(
            name=self._issuer, key_identifier=identifier, algorithm=self._algorithm
        )

    @classmethod
    def open(cls, settings: EmbeddedCASettings) -> EmbeddedCA:
        """Load key and chain from the files that the settings name.

        Raises:
            KeyUnusable, FileUnusable: as :func:`brski.edge.signers.file.load_signer`.
        """
        signer = load_signer(settings.key, settings.chain, deterministic=True)
        return cls(
            signer,
            validity_days=settings.validity_days,
            server_auth=settings.server_auth,
            rollover=() if settings.rollover is None else _load_rollover(settings),
            crl_url=settings.crl_url,
            files=KeyFiles(settings.key, settings.chain, signer),
        )

    def ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """Issuing CA first, then up to its root; rollover certificates behind it."""
        return (*self._signer.chain, *self._rollover)

    def prepare(self, request: LDevIDRequest, *, now: datetime) -> bytes:
        """Lay out the TBSCertificate, DER, with a random serial of 20 octets (RFC 5280 §4.1.2.2).

        Raises:
            KeyUnusable: the issuing certificate has expired.
            CertificateUnsound: what was laid out breaks RFC 5280.
        """
        if now >= self._not_after:
            raise KeyUnusable("the domain's issuing CA certificate has expired")
        spki = encode_spki(request.public_key)
        purposes = request.extended_key_usages or self._purposes
        ends = now + (request.validity or self._validity)
        tbs = der.encode(
            der.SEQUENCE,
            VERSION_3,
            der.encode(der.INTEGER, _random_serial()),
            self._algorithm,
            self._issuer,
            der.encode(
                der.SEQUENCE,
                encode_time(now - _BACKDATED),
                encode_time(min(ends, self._not_after)),
            ),
            request.subject.public_bytes(),
            spki,
            encode_extensions(
                encode_subject_key_identifier(key_identifier(spki)),
                _encode_purposes(purposes),
                *_encode_alternative_name(request.alternative_name),
                *self._same_in_all,
            ),
        )
        check_certificate(tbs, self._issuing, extended_key_usages=purposes)
        return tbs

    async def complete(self, intent: bytes) -> x509.Certificate | Pending:
        """Sign the TBSCertificate *intent*.

        Raises:
            StateError: *intent* names another issuer than this CA.
            CertificateUnsound: it is damaged, or not what this CA issues: whoever may write to the
                journal gets no signature by that.
        """
        if self._issuer not in intent:
            raise StateError("an open intent names an issuer that is not this CA")
        check_certificate(intent, self._issuing)
        octets = encode_certificate(intent, self._algorithm, self._signer.sign(intent))
        return x509.load_der_x509_certificate(octets)

    @property
    def crl_issuer(self) -> CRLIssuer:
        """See :attr:`~registrar_plugin.ca_backend.port.CRLSigner.crl_issuer`."""
        if not self._issuing.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign:
            raise KeyUnusable("the issuing certificate may not sign revocation lists (cRLSign)")
        return self._crl_issuer

    def prepare_crl(
        self,
        entries: bytes,
        *,
        number: int,
        this_update: datetime,
        next_update: datetime,
    ) -> bytes:
        """See :meth:`~registrar_plugin.ca_backend.port.CRLSigner.prepare_crl`."""
        return encode_tbs_crl(
            self.crl_issuer,
            entries,
            number=number,
            this_update=this_update,
            next_update=next_update,
        )

    async def complete_crl(self, intent: bytes) -> bytes:
        """See :meth:`~registrar_plugin.ca_backend.port.CRLSigner.complete_crl`."""
        if scope_of_tbs(intent) != self.crl_issuer.scope:
            raise StateError("an open CRL names an issuer that is not this CA")
        signature = await asyncio.to_thread(self._signer.sign, intent)  # it may be megabytes
        return encode_crl(intent, self._algorithm, signature)

    async def check(self) -> str | None:
        """See :class:`registrar_plugin.health.port.Checkable`: its files are as they were."""
        return None if self._files is None else await self._files.check()

    async def close(self) -> None:
        """Nothing to give back."""


def _load_rollover(settings: EmbeddedCASettings) -> tuple[x509.Certificate, ...]:
    assert isinstance(settings.rollover, Path)  # noqa: S101 - for the type
    return load_chain(settings.rollover)


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


def _encode_purposes(oids: Sequence[str]) -> bytes:
    return encode_extension(
        ID_CE_EXT_KEY_USAGE, der.encode(der.SEQUENCE, *map(der.encode_oid, oids))
    )


def _encode_alternative_name(name: x509.SubjectAlternativeName | None) -> list[bytes]:
    return [] if name is None else [encode_extension(ID_CE_SUBJECT_ALT_NAME, name.public_bytes())]


def _random_serial() -> bytes:
    """20 octets, positive, of full length: top bit clear, the next one set."""
    octets = bytearray(secrets.token_bytes(20))
    octets[0] = octets[0] & 0x7F | 0x40
    return bytes(octets)
