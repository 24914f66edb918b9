"""The port to the certification authority that issues LDevIDs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from cryptography import x509

from brski.pki.signer import PublicKey
from registrar_plugin.ca_backend.crl import CRLIssuer


@dataclass(frozen=True, slots=True, kw_only=True)
class LDevIDRequest:
    """What the registrar, having judged, asks a CA for."""

    idevid_issuer: bytes  # 20-octet keyIdentifier
    serial_number: str
    csr: bytes  # PKCS #10, DER; its proof of possession is verified
    public_key: PublicKey  # the CSR's
    subject: x509.Name  # as admitted (docs/est.md), not as asked; so is what follows
    alternative_name: x509.SubjectAlternativeName | None = None
    validity: timedelta | None = None  # None: as this CA has it
    extended_key_usages: tuple[str, ...] = ()  # dotted; none: as this CA has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """To be asked again: a CA (RFC 7030 §4.2.3), or for a voucher (RFC 8995 §5.6)."""

    retry_after_s: int


class CABackend(Protocol):
    """Issues in two steps, so that nothing is signed that is not on record.

    ``prepare`` fixes the exact octets of what will be signed (or sent); the registrar makes them
    durable; ``complete`` acts on them and gives the same certificate for the same octets, after a
    restart too.
    """

    def ca_certificates(self) -> tuple[x509.Certificate, ...]:
        """What cacerts shows (RFC 7030 §4.1.3): issuing CA first, then up to its root; behind it,
        while the root's key changes, the certificates that lead from one key to the other.
        """

    def prepare(self, request: LDevIDRequest, *, now: datetime) -> bytes:
        """Fix what will be signed: DER TBSCertificate, or the CSR for a remote CA.

        Raises:
            CSRMismatch: this CA does not issue what is asked.
            KeyUnusable: it issues nothing any more.
            CertificateUnsound: it would break RFC 5280.
        """

    async def complete(self, intent: bytes) -> x509.Certificate | Pending:
        """Sign (or send) *intent*, as :meth:`prepare` gave it.

        Raises:
            Unavailable: the CA does not answer; *intent* stays valid.
        """

    async def close(self) -> None:
        """Give back connections and sessions."""


@runtime_checkable
class CRLSigner(Protocol):
    """What a CA that signs its own revocation lists can do besides; in two steps as above."""

    @property
    def crl_issuer(self) -> CRLIssuer:
        """Who stands in its lists.

        Raises:
            KeyUnusable: this CA may not sign lists (keyUsage without cRLSign).
        """

    def prepare_crl(
        self,
        entries: bytes,
        *,
        number: int,
        this_update: datetime,
        next_update: datetime,
    ) -> bytes:
        """Fix what will be signed: DER TBSCertList; called in a thread of its own, for lists may be
        long.

        Args:
            entries: of every certificate of this CA that is no longer good and has not ended, as
                :func:`~registrar_plugin.ca_backend.crl.encode_entry` has them, one after the other.
            number: larger than that of any list before.
            this_update, next_update: aware.

        RFC 5280 §5.
        """

    async def complete_crl(self, intent: bytes) -> bytes:
        """Sign *intent*; DER CertificateList.

        Raises:
            KeyUnusable: as :attr:`crl_issuer`.
            StateError: *intent* is another CA's.
            Unavailable: whoever holds the key does not answer.
        """
