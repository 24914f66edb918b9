"""A root's new key: the certificates by which those who trust one of the two keys reach the other.

Old and new root have one name. OldWithNew holds the old key under the new one's signature,
NewWithOld the new key under the old one's, NewWithNew is the new root itself (RFC 4210 §4.4;
RFC 7030 §4.1.3). A device that knows only the old root follows NewWithOld; one that knows only the
new root follows OldWithNew to certificates from before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from brski.errors import ChainInvalid, KeyUnusable
from brski.idevid.certificate import (
    encode_authority_key_identifier,
    encode_certificate,
    encode_extension,
    encode_extensions,
    encode_subject_key_identifier,
)
from brski.pki import der
from brski.pki.chain import is_self_signed
from brski.pki.extensions import key_identifier, subject_key_identifier
from brski.pki.keys import encode_spki, spki_of
from brski.pki.signatures import signature_algorithm
from brski.pki.signer import PublicKey, Signer
from brski.registry import ID_CE_BASIC_CONSTRAINTS, ID_CE_KEY_USAGE
from registrar_plugin.ca_backend.layout import VERSION_3, encode_time

_CA: Final = der.encode(der.SEQUENCE, der.encode(der.BOOLEAN, b"\xff"))
_SIGNS_CERTIFICATES_AND_LISTS: Final = der.encode(der.BIT_STRING, b"\x01\x06")
_SECTION: Final = "RFC 4210 §4.4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollover:
    """The three certificates; the root's old certificate is OldWithOld."""

    new_with_new: x509.Certificate
    new_with_old: x509.Certificate
    old_with_new: x509.Certificate

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """All three, as cacerts shows them."""
        return self.new_with_new, self.new_with_old, self.old_with_new


def make_rollover(old: Signer, new: Signer, *, now: datetime, not_after: datetime) -> Rollover:
    """Certify each of two root keys with the other.

    Args:
        old: the root of today; its chain is its certificate.
        new: a bare key.
        now: where NewWithNew and NewWithOld begin; aware.
        not_after: of NewWithNew; the other two end with the old root, since then nobody relies on
            its key any more.

    Raises:
        KeyUnusable: the old root is no self-signed CA, has ended, or the keys are one.
    """
    root = old.chain[0] if old.chain else None
    if root is None or not is_self_signed(root):
        raise KeyUnusable("what is rolled over is no self-signed root")
    if now >= root.not_valid_after_utc:
        raise KeyUnusable(f"the root ended on {root.not_valid_after_utc}")
    if spki_of(root) == encode_spki(new.public_key):
        raise KeyUnusable("the new root has the old one's key")
    return Rollover(
        new_with_new=_certify(root, new.public_key, new, now, not_after),
        new_with_old=_certify(root, new.public_key, old, now, root.not_valid_after_utc),
        old_with_new=_certify(
            root, old.public_key, new, root.not_valid_before_utc, root.not_valid_after_utc
        ),
    )


def _certify(
    root: x509.Certificate, key: PublicKey, signer: Signer, begin: datetime, end: datetime
) -> x509.Certificate:
    name = root.subject.public_bytes()
    algorithm = signature_algorithm(signer.public_key)
    spki = encode_spki(key)
    identifiers = [
        encode_subject_key_identifier(_identifier(root, spki)),
        encode_authority_key_identifier(_identifier(root, encode_spki(signer.public_key))),
    ]
    tail = (
        algorithm,
        name,
        der.encode(der.SEQUENCE, encode_time(begin), encode_time(end)),
        name,
        spki,
        encode_extensions(
            encode_extension(ID_CE_BASIC_CONSTRAINTS, _CA, critical=True),
            encode_extension(ID_CE_KEY_USAGE, _SIGNS_CERTIFICATES_AND_LISTS, critical=True),
            *identifiers,
        ),
    )
    serial = hashlib.sha256(b"".join(tail)).digest()[:20]  # unique as its contents are
    number = bytes((serial[0] & 0x7F | 0x40,)) + serial[1:]
    tbs = der.encode(der.SEQUENCE, VERSION_3, der.encode(der.INTEGER, number), *tail)
    return x509.load_der_x509_certificate(encode_certificate(tbs, algorithm, signer.sign(tbs)))


def _identifier(root: x509.Certificate, spki: bytes) -> bytes:
    """As the root's own certificate has it, so that what it issued before still finds its key."""
    if spki == spki_of(root):
        return subject_key_identifier(root) or key_identifier(spki)
    return key_identifier(spki)


def check_rollover(chain: Sequence[x509.Certificate], rollover: Sequence[x509.Certificate]) -> None:
    """Raise unless every one of *rollover* is a root's, and certified by a key of this domain.

    Args:
        chain: the CA's, root last.
        rollover: what cacerts shows besides; may be empty.

    Raises:
        ChainInvalid: one has another name than the root, or leads neither to nor from another key
            of this domain.
    """
    if not rollover:
        return
    root = chain[-1]
    known = (root, *rollover)
    for each in rollover:
        if each.subject != root.subject or each.issuer != root.subject:
            raise ChainInvalid(
                f"rollover certificate {each.subject.rfc4514_string()!r} is not of the root "
                f"{root.subject.rfc4514_string()!r}",
                section=_SECTION,
            )
        others = (other for other in known if spki_of(other) != spki_of(each))
        if not any(_signed(each, other) or _signed(other, each) for other in others):
            raise ChainInvalid(
                "a rollover certificate leads from no key of this domain to another",
                section=_SECTION,
            )
    if not any(_signed(each, root) or _signed(root, each) for each in rollover):
        raise ChainInvalid(
            "no rollover certificate has to do with the chain's root", section=_SECTION
        )


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
