"""The port of signed serializations: CMS now, JWS and COSE beside it later.

A serialization turns a payload into a signed message and back. Making one is two steps, so that
what is about to be signed can be made durable first (docs/journal.md): ``prepare`` gives the exact
octets to be signed, ``assemble`` puts the signature to them. Opening verifies nothing: the caller
says under which key, and asks. How the payload is encoded goes with the serialization, so what was
opened is read through it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography import x509

from brski.pki.signer import PublicKey, Signer
from brski.voucher.model import Voucher, VoucherRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerReference:
    """How a message names the key that signed it; exactly one way of the two is set."""

    subject_key_identifier: bytes | None = None
    issuer: bytes | None = None  # DER Name
    certificate_serial: int | None = None


class Unsigned(Protocol):
    """A message that lacks only its signature."""

    @property
    def to_be_signed(self) -> bytes:
        """The exact octets that the signature covers."""

    def assemble(self, signature: bytes) -> bytes:
        """Return the message with *signature* (as :meth:`Signer.sign` gives it) in place."""

    def encode(self) -> bytes:
        """Octets to keep in a journal; the serialization's ``decode_unsigned`` reads them back."""


class Signed(Protocol):
    """A message as received: parsed, bounded, not yet believed."""

    @property
    def payload(self) -> bytes:
        """The voucher document, such as JSON."""

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Those that came with it, in the message's order; hints, never trust."""

    @property
    def signer(self) -> SignerReference:
        """How the message names its signer."""

    @property
    def signing_time(self) -> datetime | None:
        """The signer's claim of when, aware UTC."""

    def voucher(self) -> Voucher:
        """Read the payload as a voucher; verify first, to know whose it is.

        Raises:
            Malformed, TooLarge: it is none.
        """

    def voucher_request(self) -> VoucherRequest:
        """Read the payload as a voucher-request; verify first, to know whose it is.

        Raises:
            Malformed, TooLarge: it is none.
        """

    def signer_certificate(self) -> x509.Certificate | None:
        """The enclosed certificate that :attr:`signer` names, if it came with the message."""

    def verify(self, public_key: PublicKey) -> None:
        """Raise :class:`~brski.errors.SignatureInvalid` unless *public_key* made the signature."""


class VoucherSerialization(Protocol):
    """One way to sign vouchers and voucher-requests."""

    @property
    def media_type(self) -> str:
        """Such as ``application/voucher-cms+json``."""

    def prepare(
        self,
        payload: bytes,
        signer: Signer,
        *,
        certificates: tuple[x509.Certificate, ...] = (),
        signing_time: datetime | None = None,
        name_by_key_identifier: bool = False,
    ) -> Unsigned:
        """Lay out the message of *payload* for *signer*; nothing is signed yet.

        Args:
            payload: the voucher document.
            signer: its ``chain[0]`` names the key, unless *name_by_key_identifier*, which takes the
                SHA-1 of the public key's BIT STRING (RFC 5280 §4.2.1.2 method 1) and needs no
                certificate.
            certificates: to be enclosed; a serialization whose standard orders them, as CMS does,
                does not keep this order.
            signing_time: aware; left out when None.

        Raises:
            KeyUnusable: a signer without certificate is to be named by its certificate.
            KeyNotAllowed: the signer's key is of a kind that is not accepted.
            LocalError: a message that no reader would take.
        """

    def sign(
        self,
        payload: bytes,
        signer: Signer,
        *,
        certificates: tuple[x509.Certificate, ...] = (),
        signing_time: datetime | None = None,
        name_by_key_identifier: bool = False,
    ) -> bytes:
        """``prepare`` and ``assemble`` in one; raises what either does."""

    def decode_unsigned(self, octets: bytes) -> Unsigned:
        """Read back what :meth:`Unsigned.encode` gave.

        Raises:
            StateError: the octets are not such a record.
        """

    def open(self, message: bytes) -> Signed:
        """Parse *message* without believing it.

        Raises:
            Malformed: not this serialization, or outside its strict profile.
            UnknownFormat: an algorithm or content type that is not spoken.
            TooLarge: over the limits of :mod:`brski.registry`.
        """
