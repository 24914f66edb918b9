"""Vouchers as CMS SignedData with a JSON payload: ``application/voucher-cms+json``.

The adapter of the serialization port over :mod:`brski.voucher.signed_data`. Knows keys,
certificates and signatures; what the JSON says is for :mod:`brski.voucher.yang_json`. It trusts
nothing: the caller says which key must have signed.

RFC 8366 §5.4; RFC 5652 §5; docs/voucher.md tells the profile in words.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from brski.errors import (
    KeyUnusable,
    LocalError,
    Malformed,
    OnboardingError,
    SignatureInvalid,
    StateError,
)
from brski.pki import der, signatures
from brski.pki.extensions import key_identifier, subject_key_identifier
from brski.pki.keys import certificate_der, encode_spki, parse_certificate
from brski.pki.signer import PublicKey, Signer
from brski.registry import CERTIFICATES_LIMIT, VOUCHER_CMS_JSON
from brski.voucher import signed_data
from brski.voucher.interoperability import Interoperability
from brski.voucher.model import Voucher, VoucherRequest
from brski.voucher.serialization import SignerReference
from brski.voucher.signed_data import SignedData
from brski.voucher.yang_json import decode_voucher, decode_voucher_request


@dataclass(frozen=True, slots=True)
class UnsignedCMS:
    """A message that lacks only its signature (:class:`~brski.voucher.serialization.Unsigned`)."""

    _parts: SignedData

    @property
    def to_be_signed(self) -> bytes:
        """DER of the signed attributes as SET OF (RFC 5652 §5.4)."""
        return self._parts.to_be_signed

    def assemble(self, signature: bytes) -> bytes:
        """Return the DER ContentInfo with *signature* in place; it is not looked at."""
        return signed_data.encode_message(self._parts, signature)

    def encode(self) -> bytes:
        """Return the DER ContentInfo with a signature of no octets: a journal can be dumped."""
        return signed_data.encode_message(self._parts, b"")


@dataclass(frozen=True, slots=True)
class SignedCMS:
    """A message as received (:class:`~brski.voucher.serialization.Signed`)."""

    certificates: tuple[x509.Certificate, ...]
    signer: SignerReference
    signing_time: datetime | None
    _parts: SignedData
    _message_digest: bytes
    _signature: bytes
    _interoperability: Interoperability

    @property
    def payload(self) -> bytes:
        """The JSON document, as it came; never empty."""
        return self._parts.payload

    def voucher(self) -> Voucher:
        """Read the payload as a voucher; as :func:`brski.voucher.yang_json.decode_voucher`."""
        return decode_voucher(self.payload, lenient_nonce=self._lenient)

    def voucher_request(self) -> VoucherRequest:
        """Read the payload as a voucher-request; as
        :func:`brski.voucher.yang_json.decode_voucher_request`.
        """
        return decode_voucher_request(self.payload, lenient_nonce=self._lenient)

    @property
    def _lenient(self) -> bool:
        return self._interoperability is Interoperability.PUBLISHED_SAMPLES

    def signer_certificate(self) -> x509.Certificate | None:
        """The first enclosed certificate that the SignerInfo names.

        By issuer and serial number the octets of both are compared; by key identifier the
        certificate's SubjectKeyIdentifier extension is.

        RFC 5652 §5.3.
        """
        enclosed = zip(self.certificates, self._parts.certificates, strict=True)
        for certificate, encoded in enclosed:
            if self._names(certificate, encoded):
                return certificate
        return None

    def _names(self, certificate: x509.Certificate, encoded: bytes) -> bool:
        wanted = self.signer.subject_key_identifier
        if wanted is not None:
            return subject_key_identifier(certificate) == wanted
        return signed_data.issuer_and_serial(encoded) == self._parts.signer_id

    def verify(self, public_key: PublicKey) -> None:
        """Raise unless *public_key* signed these attributes, and they name this payload.

        Costs one digest and, only if that is right, one signature verification.

        Raises:
            SignatureInvalid: algorithms other than the key dictates, another payload, or a
                signature that does not verify.
            KeyNotAllowed: a key that may sign nothing here.

        RFC 5652 §5.4, §5.6.
        """
        digest, hash_name = signatures.digest_algorithm(public_key)
        self._check_algorithms(digest, signatures.signature_algorithm(public_key))
        if not hmac.compare_digest(_digest_of(self.payload, hash_name), self._message_digest):
            raise SignatureInvalid(
                "messageDigest is not the payload's digest", section="RFC 5652 §5.6"
            )
        signatures.verify(
            public_key, self._signature, self._parts.to_be_signed, what="CMS signature"
        )

    def _check_algorithms(self, digest: str, algorithm: bytes) -> None:
        parts = self._parts
        if parts.digest != der.encode_oid(digest) or parts.full_signature_algorithm != algorithm:
            raise SignatureInvalid(
                "CMS signature with other algorithms than its key dictates",
                section="RFC 5652 §5.3",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CMSSerialization:
    """The adapter of :class:`~brski.voucher.serialization.VoucherSerialization` for CMS.

    Args:
        interoperability: which deviations are taken in what is opened.
    """

    interoperability: Interoperability = Interoperability.STRICT

    @property
    def media_type(self) -> str:
        """``application/voucher-cms+json``."""
        return VOUCHER_CMS_JSON

    def prepare(
        self,
        payload: bytes,
        signer: Signer,
        *,
        certificates: tuple[x509.Certificate, ...] = (),
        signing_time: datetime | None = None,
        name_by_key_identifier: bool = False,
    ) -> UnsignedCMS:
        """Lay out the message of *payload* for *signer*; nothing is signed yet.

        Args:
            payload: the JSON document; it must not begin with the octet 0x31.
            signer: ``chain[0]`` gives issuer and serial number, unless *name_by_key_identifier*.
            certificates: at most 8. DER sorts a SET OF, so their order is lost: readers find the
                signer by what the SignerInfo names, the rest by issuer.
            signing_time: aware, written to the second.
            name_by_key_identifier: SignerInfo version 3 with the SHA-1 of the public key's BIT
                STRING (RFC 5280 §4.2.1.2 method 1).

        Raises:
            KeyUnusable: a name by certificate is asked of a signer that has none.
            KeyNotAllowed: the signer's key may sign nothing here.
            LocalError: a payload or number of certificates that no reader of this profile takes,
                or a *signing_time* without zone.

        RFC 8366 §5.4; RFC 5652 §5.
        """
        signed_data.check_payload(payload, LocalError)
        if len(certificates) > CERTIFICATES_LIMIT:
            raise LocalError(f"{len(certificates)} certificates, {CERTIFICATES_LIMIT} are allowed")
        digest, hash_name = signatures.digest_algorithm(signer.public_key)
        return UnsignedCMS(
            SignedData(
                content_type=signed_data.JSON_VOUCHER,
                payload=payload,
                certificates=tuple(sorted(map(certificate_der, certificates))),
                signer_id=_signer_id(signer, name_by_key_identifier),
                digest=der.encode_oid(digest),
                attributes=signed_data.encode_attributes(
                    _digest_of(payload, hash_name), signing_time
                ),
                signature_algorithm=signatures.signature_algorithm(signer.public_key),
            )
        )

    def sign(
        self,
        payload: bytes,
        signer: Signer,
        *,
        certificates: tuple[x509.Certificate, ...] = (),
        signing_time: datetime | None = None,
        name_by_key_identifier: bool = False,
    ) -> bytes:
        """Return the signed message: :meth:`prepare` and ``assemble`` in one.

        Raises:
            KeyUnusable: the key cannot sign now, or as in :meth:`prepare`.
            KeyNotAllowed, LocalError: as in :meth:`prepare`.
        """
        unsigned = self.prepare(
            payload,
            signer,
            certificates=certificates,
            signing_time=signing_time,
            name_by_key_identifier=name_by_key_identifier,
        )
        return unsigned.assemble(signer.sign(unsigned.to_be_signed))

    def decode_unsigned(self, octets: bytes) -> UnsignedCMS:
        """Read back what :meth:`UnsignedCMS.encode` gave.

        Raises:
            StateError: the octets are no such record, or are damaged.
        """
        try:
            parts, signature = signed_data.read_message(octets)
            attributes = signed_data.read_attributes(parts)
        except OnboardingError as err:
            raise StateError(f"not an unsigned CMS message: {err.reason}") from err
        unsigned = UnsignedCMS(parts)
        digest = _digest_of(parts.payload, parts.digest_name)
        if signature or digest != attributes.message_digest or unsigned.encode() != octets:
            raise StateError("not an unsigned CMS message of ours, or a damaged one")
        return unsigned

    def open(self, message: bytes) -> SignedCMS:
        """Parse *message* without believing it.

        Args:
            message: DER of ContentInfo, raw; neither base64 nor PEM.

        Raises:
            Malformed: not DER, or CMS outside the profile of docs/voucher.md.
            UnknownFormat: a content type, version or algorithm that is not spoken.
            TooLarge: more than 64 KiB, 8 certificates or 16 signed attributes.

        RFC 8366 §5.4; RFC 5652 §5.
        """
        _check_not_text(message)
        parts, signature = signed_data.read_message(
            message, accept_id_data=self.interoperability is Interoperability.PUBLISHED_SAMPLES
        )
        if not signature:
            raise Malformed("CMS signature of no octets", section="RFC 5652 §5.3")
        attributes = signed_data.read_attributes(parts)
        return SignedCMS(
            certificates=tuple(map(parse_certificate, parts.certificates)),
            signer=_signer_reference(parts.signer_id),
            signing_time=attributes.signing_time,
            _parts=parts,
            _message_digest=attributes.message_digest,
            _signature=signature,
            _interoperability=self.interoperability,
        )


def _digest_of(payload: bytes, hash_name: str) -> bytes:
    return hashlib.new(hash_name, payload).digest()


def _signer_id(signer: Signer, name_by_key_identifier: bool) -> bytes:
    if name_by_key_identifier:
        identifier = key_identifier(encode_spki(signer.public_key))
        return der.encode(signed_data.KEY_IDENTIFIER, identifier)
    if not signer.chain:
        raise KeyUnusable(
            "a signer without certificate can be named by key identifier only",
            section="RFC 5652 §5.3",
        )
    return signed_data.issuer_and_serial(certificate_der(signer.chain[0]))


def _signer_reference(signer_id: bytes) -> SignerReference:
    identifier, issuer_and_serial = signed_data.read_signer_id(signer_id)
    if issuer_and_serial is None:
        return SignerReference(subject_key_identifier=identifier)
    issuer, number = issuer_and_serial
    return SignerReference(issuer=issuer, certificate_serial=number)


def _check_not_text(message: bytes) -> None:
    if message.startswith((b"-----BEGIN", b"MI")):
        raise Malformed("CMS message is base64 or PEM, raw DER is expected", section="RFC 8995 §6")


CMS = CMSSerialization()
"""Strict, as all programs here speak it unless their settings say otherwise."""
