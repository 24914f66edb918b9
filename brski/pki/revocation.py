"""What a certificate revocation list says of a certificate. RFC 5280 §5, §6.3.

Complete lists of the issuer itself, no deltas, no indirect ones, no partial ones: what a list does
not cover it cannot clear. Lists are octets; where they come from is the caller's, and so is which
certificates are to be looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from brski.errors import CertificateRevoked, Malformed, RevocationUnknown, TooLarge
from brski.pki import effort
from brski.pki.keys import public_key_of_certificate
from brski.pki.walk import SIGNATURE_ALGORITHMS

LIST_LIMIT: Final = 256 * 1024  # ours: octets of one list; some 6,000 entries
POINTS_LIMIT: Final = 2  # ours: places of one certificate's list that are looked at
_SKEW: Final = timedelta(minutes=5)  # ours: how far the issuer's clock may run ahead
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
    }
)


def distribution_points(certificate: x509.Certificate) -> tuple[str, ...]:
    """Where the issuer publishes its list: ``http`` addresses, as they stand, at most two.

    Points that name another issuer or only some reasons are passed over, and so is what is neither
    ASCII nor ``http``: a list is signed, and its fetching must not need a further PKI.

    RFC 5280 §4.2.1.13.
    """
    return tuple(_points(certificate))[:POINTS_LIMIT]


def _points(certificate: x509.Certificate) -> Iterator[str]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return
    for point in points:
        if point.crl_issuer is None and point.reasons is None:
            for name in point.full_name or ():
                if isinstance(name, x509.UniformResourceIdentifier) and _is_http(name.value):
                    yield name.value


def _is_http(address: str) -> bool:
    return address.isascii() and address[:7].lower() == "http://"


def parse_list(octets: bytes) -> x509.CertificateRevocationList:
    """Read one list, DER.

    Raises:
        TooLarge: more than :data:`LIST_LIMIT` octets.
        Malformed: no list, or one with extensions that cannot be read.

    RFC 5280 §5.1.
    """
    if len(octets) > LIST_LIMIT:
        raise TooLarge(f"a revocation list of {len(octets)} octets, {LIST_LIMIT} are the most")
    try:
        revoked = x509.load_der_x509_crl(octets)
        len(revoked.extensions)
    except (ValueError, x509.DuplicateExtension) as err:
        raise Malformed("no certificate revocation list", section="RFC 5280 §5.1") from err
    return revoked


def check_not_revoked(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Iterable[x509.CertificateRevocationList],
    *,
    at: datetime,
) -> None:
    """Raise unless a current list of *issuer* is there and *certificate* is not on it.

    Args:
        certificate: issued by *issuer*, as the caller has verified.
        issuer: whose lists count.
        lists: of anybody, in any order.
        at: aware.

    Raises:
        CertificateRevoked: a list of the issuer's has it; also one that is out of date, since what
            is revoked stays so.
        RevocationUnknown: no list of the issuer's is there that is complete and current.

    RFC 5280 §6.3.3.
    """
    reason = f"there is no revocation list of {_called(issuer)}"
    known = False
    for revoked in lists:
        try:
            _check_of_issuer(revoked, issuer)
            _check_not_on_it(certificate, revoked)
            _check_current(revoked, at)
        except RevocationUnknown as err:
            reason = err.reason
        else:
            known = True
    if not known:
        raise RevocationUnknown(reason, section="RFC 5280 §6.3.3")


def check_not_listed(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Iterable[x509.CertificateRevocationList],
) -> None:
    """Raise if a list of *issuer*, however old, has *certificate*; a list need not be there.

    Raises:
        CertificateRevoked: it has.

    RFC 5280 §6.3.3.
    """
    for revoked in lists:
        try:
            _check_of_issuer(revoked, issuer)
        except RevocationUnknown:
            continue
        _check_not_on_it(certificate, revoked)


def _check_of_issuer(revoked: x509.CertificateRevocationList, issuer: x509.Certificate) -> None:
    """*revoked* is *issuer*'s own, for all of its certificates and all reasons."""
    if revoked.issuer != issuer.subject:
        raise RevocationUnknown(f"there is no revocation list of {_called(issuer)}")
    if not _may_sign_lists(issuer) or not _is_signed_by(revoked, issuer):
        raise RevocationUnknown(f"a revocation list is not signed by {_called(issuer)}")
    for extension in revoked.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise RevocationUnknown(f"a revocation list with {extension.oid.dotted_string}")
        if extension.oid == ExtensionOID.DELTA_CRL_INDICATOR or _is_partial(extension.value):
            raise RevocationUnknown(f"a revocation list of {_called(issuer)} is not complete")


def _may_sign_lists(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _is_signed_by(revoked: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    if revoked.signature_algorithm_oid.dotted_string not in SIGNATURE_ALGORITHMS:
        return False
    effort.spend()
    try:
        return revoked.is_signature_valid(public_key_of_certificate(issuer))
    except (TypeError, ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False


def _is_partial(value: x509.ExtensionType) -> bool:
    return isinstance(value, x509.IssuingDistributionPoint) and (
        value.indirect_crl
        or value.only_contains_user_certs
        or value.only_contains_ca_certs
        or value.only_contains_attribute_certs
        or value.only_some_reasons is not None
    )


def _check_not_on_it(
    certificate: x509.Certificate, revoked: x509.CertificateRevocationList
) -> None:
    entry = revoked.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is not None:
        raise CertificateRevoked(
            f"{_called(certificate)} was revoked on {entry.revocation_date_utc:%c}",
            section="RFC 5280 §6.3.3",
        )


def _check_current(revoked: x509.CertificateRevocationList, at: datetime) -> None:
    until = revoked.next_update_utc
    if revoked.last_update_utc > at + _SKEW:
        raise RevocationUnknown(f"a revocation list is of {revoked.last_update_utc:%c}")
    if until is None or until <= at:
        good = "without end" if until is None else f"until {until:%c}"
        raise RevocationUnknown(f"a revocation list is good {good}")


def _called(certificate: x509.Certificate) -> str:
    return ascii(certificate.subject.rfc4514_string()[:120])
