"""The three forms in which a document names a key: its certificate, itself, or its hash.

A pledge says with them which registrar it met (``proximity-registrar-…``), a voucher whom to trust
(``pinned-domain-…``). Where a document has several, one of them counts; which one is decided here.

RFC 8366bis §8, §9.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

from brski.pki.keys import parse_certificate, spki_sha256
from brski.voucher.model import Voucher, VoucherRequest


class Form(enum.StrEnum):
    """How a leaf names a key; the end of the leaf's name, in the order in which they count."""

    PUBK_SHA256 = "pubk-sha256"
    PUBK = "pubk"
    CERT = "cert"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReference:
    """One such leaf."""

    form: Form
    octets: bytes  # SHA-256 of the SubjectPublicKeyInfo, the SubjectPublicKeyInfo, or a certificate

    def is_of(self, certificate: x509.Certificate) -> bool:
        """Whether *certificate* has the key that is named, whichever the form.

        Raises:
            Malformed, TooLarge: the form is a certificate that cannot be read.
        """
        return hmac.compare_digest(self.key_sha256(), spki_sha256(certificate))

    def key_sha256(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo that is named.

        Raises:
            Malformed, TooLarge: the form is a certificate that cannot be read.
        """
        match self.form:
            case Form.PUBK_SHA256:
                return self.octets
            case Form.PUBK:
                return hashlib.sha256(self.octets).digest()
            case Form.CERT:
                return spki_sha256(parse_certificate(self.octets))


def proximity_of(request: VoucherRequest) -> KeyReference | None:
    """Return the leaf by which *request* says whom the pledge met; None if there is none.

    Of several the first counts in the order pubk-sha256, pubk, cert.

    RFC 8366bis §9.
    """
    return _first(_proximity_leaves(request))


def pin_of(voucher: Voucher, request: VoucherRequest) -> KeyReference | None:
    """Return the leaf by which *voucher* pins; None if there is none.

    Of several the one counts that has the form in which *request* named the registrar. Where the
    voucher has no nonce, and so answers no request in particular, or has nothing in that form, the
    first counts in the order pubk-sha256, pubk, cert.

    RFC 8366bis §8.
    """
    leaves = _pin_leaves(voucher)
    asked = proximity_of(request)
    if voucher.nonce is not None and asked is not None and leaves[asked.form] is not None:
        leaves = {asked.form: leaves[asked.form]}
    return _first(leaves)


def _first(leaves: Mapping[Form, bytes | None]) -> KeyReference | None:
    there = ((form, leaves.get(form)) for form in Form)
    return next(
        (KeyReference(form=form, octets=octets) for form, octets in there if octets is not None),
        None,
    )


def _proximity_leaves(request: VoucherRequest) -> dict[Form, bytes | None]:
    return {
        Form.PUBK_SHA256: request.proximity_registrar_pubk_sha256,
        Form.PUBK: request.proximity_registrar_pubk,
        Form.CERT: request.proximity_registrar_cert,
    }


def _pin_leaves(voucher: Voucher) -> dict[Form, bytes | None]:
    return {
        Form.PUBK_SHA256: voucher.pinned_domain_pubk_sha256,
        Form.PUBK: voucher.pinned_domain_pubk,
        Form.CERT: voucher.pinned_domain_cert,
    }
