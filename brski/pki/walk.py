"""One path, judged step by step: where the verifier of ``cryptography`` cannot, or costs too much.

Names, signatures, validity, BasicConstraints, path lengths, keyCertSign, kinds of keys and
signatures, critical extensions. Which path it is, and whether its end is trusted, is for
:mod:`brski.pki.chain`. What of it is asked of every certificate by itself, :func:`check_form`, is
asked of the paths that the verifier judges, too. RFC 5280 §6.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Final, TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from brski import registry
from brski.errors import ChainInvalid, KeyNotAllowed
from brski.pki import effort
from brski.pki.keys import public_key_of_certificate
from brski.pki.signer import PublicKey

Path: TypeAlias = tuple[x509.Certificate, ...]
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_REMEMBERED: Final = 256  # ours: steps whose signature has verified, of a few onboardings
_SECTION: Final = "RFC 5280 §6.1"

# What is understood when marked critical.
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)
# What narrows the paths below it, critical or not (RFC 5280 §6.1.4), and is not worked out here: no
# device PKI that we know of uses these.
_NARROWING: Final = {
    ExtensionOID.NAME_CONSTRAINTS: ("name constraints", "RFC 5280 §4.2.1.10"),
    ExtensionOID.POLICY_CONSTRAINTS: ("policy constraints", "RFC 5280 §4.2.1.11"),
}
SIGNATURE_ALGORITHMS: Final = frozenset(  # of certificates and revocation lists, dotted
    {
        registry.ECDSA_WITH_SHA256,
        registry.ECDSA_WITH_SHA384,
        registry.ECDSA_WITH_SHA512,
        registry.SHA256_WITH_RSA,
        "1.2.840.113549.1.1.12",  # sha384WithRSAEncryption, RFC 4055 §5
        "1.2.840.113549.1.1.13",  # sha512WithRSAEncryption, RFC 4055 §5
        registry.ID_ED25519,
        registry.ID_ML_DSA_44,
        registry.ID_ML_DSA_65,
        registry.ID_ML_DSA_87,
    }
)


def walk(path: Path, at: datetime | None, ignore_leaf_expiry: bool) -> None:
    """Judge *path*, leaf first and anchor last; without *at* no date counts."""
    for depth, certificate in enumerate(path):
        check_form(certificate)
        if at is not None:
            _check_validity(certificate, at, ignore_expiry=ignore_leaf_expiry and depth == 0)
        if depth > 0:
            _check_issuer(certificate, below=path[1:depth])
    for certificate, issuer in pairwise(path):
        check_issued(certificate, issuer)


def check_algorithms(certificate: x509.Certificate) -> PublicKey:
    """Return the key, if it and the signature on the certificate are of accepted kinds."""
    algorithm = certificate.signature_algorithm_oid.dotted_string
    if algorithm not in SIGNATURE_ALGORITHMS:
        raise ChainInvalid(
            f"{called(certificate)} is signed with {algorithm}, which is not accepted",
            section="RFC 5280 §4.1.1.2",
        )
    try:
        return public_key_of_certificate(certificate)
    except KeyNotAllowed as err:
        raise ChainInvalid(f"{called(certificate)}: {err.reason}", section=err.section) from err


def check_form(certificate: x509.Certificate) -> None:
    """Raise if it has what no certificate of a path may have, wherever it stands.

    Raises:
        ChainInvalid: a version before 3; an issuer without a name; a critical extension that is not
            understood; name or policy constraints; keyCertSign on what is no CA.

    RFC 5280 §4.1.2.1, §4.1.2.4, §4.2.
    """
    if certificate.version is not x509.Version.v3:
        raise ChainInvalid(
            f"{called(certificate)} is not of version 3", section="RFC 5280 §4.1.2.1"
        )
    if not certificate.issuer:
        raise ChainInvalid(f"{called(certificate)} names no issuer", section="RFC 5280 §4.1.2.4")
    _check_extensions(certificate)
    usage = _value(certificate, x509.KeyUsage)
    if usage is not None and usage.key_cert_sign and not _is_ca(certificate):
        raise ChainInvalid(
            f"{called(certificate)} has keyCertSign and is no CA", section="RFC 5280 §4.2.1.9"
        )


def _check_extensions(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise ChainInvalid(
                f"{called(certificate)} has the critical extension {extension.oid.dotted_string}",
                section="RFC 5280 §4.2",
            )
        if extension.oid in _NARROWING:
            what, section = _NARROWING[extension.oid]
            raise ChainInvalid(f"{called(certificate)} has {what}", section=section)


def _check_validity(certificate: x509.Certificate, at: datetime, *, ignore_expiry: bool) -> None:
    at = at.replace(microsecond=0)  # certificates count whole seconds, the last one included
    if at < certificate.not_valid_before_utc:
        raise ChainInvalid(
            f"{called(certificate)} is not valid before {certificate.not_valid_before_utc:%c}",
            section="RFC 5280 §4.1.2.5",
        )
    if at > certificate.not_valid_after_utc and not ignore_expiry:
        raise ChainInvalid(
            f"{called(certificate)} expired on {certificate.not_valid_after_utc:%c}",
            section="RFC 5280 §4.1.2.5",
        )


def _check_issuer(certificate: x509.Certificate, *, below: Path) -> None:
    """*below*: the CA certificates between it and the leaf."""
    if not _is_ca(certificate):
        raise ChainInvalid(
            f"{called(certificate)} issues, but is no CA", section="RFC 5280 §4.2.1.9"
        )
    usage = _value(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise ChainInvalid(
            f"{called(certificate)} issues without keyCertSign", section="RFC 5280 §4.2.1.3"
        )
    constraints = _value(certificate, x509.BasicConstraints)
    # Self-issued certificates count too; RFC 5280 would not have it, the library's verifier does.
    most = None if constraints is None else constraints.path_length
    if most is not None and len(below) > most:
        raise ChainInvalid(
            f"{called(certificate)} allows {most} CAs below, not {len(below)}",
            section="RFC 5280 §4.2.1.9",
        )


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = _value(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _value(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Raise unless name and signature of *certificate* are *issuer*'s, whose key has been accepted.

    What has verified once is not verified again.

    Raises:
        ChainInvalid: they are not.
        TooLarge: one verification too many for this message (:mod:`brski.pki.effort`).
    """
    step = _step(certificate, issuer)
    if step.verified:
        return
    if certificate.issuer == issuer.subject:  # else no signature is looked at
        effort.spend()
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as err:
        raise ChainInvalid(
            f"{called(certificate)} is not issued by {called(issuer)}", section=_SECTION
        ) from err
    step.verified = True


def is_known(path: Path) -> bool:
    """Whether every signature of *path* has verified before, so that walking it costs none."""
    return all(_step(certificate, issuer).verified for certificate, issuer in pairwise(path))


@dataclass(slots=True)
class _Step:
    """From a certificate to one that may have issued it."""

    certificate: x509.Certificate
    issuer: x509.Certificate
    verified: bool = False


_step: Final = lru_cache(maxsize=_REMEMBERED)(_Step)


def called(certificate: x509.Certificate) -> str:
    """The subject for a message, escaped: it may come from anybody."""
    return ascii(certificate.subject.rfc4514_string()[:120])
