"""Clients with a certificate of another CA: who they are, and what that entitles them to.

The owner lists the CAs (docs/est.md). A client is its CA and its subject: another certificate of
both is the same client, whatever key it has.

RFC 7030 §3.3.2, §4.2.1.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import CertificateUnsound, ChainInvalid, CSRMismatch, NotAuthenticated
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import has_extended_key_usage, may_be_a_client
from registrar_plugin.ca_backend.lint.certificate import check_subject
from registrar_plugin.enrollment.client_names import DeviceNames, check_dns_names
from registrar_plugin.enrollment.enrollee import Enrollee
from registrar_plugin.enrollment.name_pattern import NamePattern
from registrar_plugin.identity.clients import CERTIFICATE, client_key

Path = tuple[x509.Certificate, ...]

_SECTION: Final = "RFC 7030 §3.3.2"
_NAME_LIMIT: Final = 64
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+\Z")
_DIGEST_DIGITS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCA:
    """A CA whose certificates make their holders EST clients under some labels."""

    name: str  # 1 to 24 characters of a-z 0-9 -
    anchors: TrustAnchors
    labels: frozenset[str]  # of the profiles under which it counts; empty text: the default one
    usages: tuple[str, ...] = ()  # dotted; each must be in the certificate's extendedKeyUsage
    admits_new: bool = True  # False: who has come before renews, and nobody comes anew
    denied: frozenset[str] = frozenset()  # clients that get nothing, by client_name
    common_names: tuple[NamePattern, ...] = ()  # its clients are of these alone; none: of any
    dns_names: tuple[NamePattern, ...] = ()  # likewise


def find_path(ca: ClientCA, chain: Sequence[x509.Certificate], *, at: datetime) -> Path:
    """The way from what a TLS client showed to an anchor of *ca*, judged whole.

    Args:
        chain: leaf first, as :func:`~registrar_plugin.identity.presented.parse_presented` read it.
        at: aware UTC.

    Returns:
        Leaf first, anchor last.

    Raises:
        ChainInvalid: there is none, or the leaf is no TLS client's certificate for this CA.
        TooLarge: finding out would cost too much.

    RFC 5280 §6.1; docs/chains.md.
    """
    path = ca.anchors.validate(chain[0], chain[1:], at=at)
    leaf = path[0]
    if _is_ca(leaf):
        raise ChainInvalid("a CA's certificate is no client's", section="RFC 5280 §4.2.1.9")
    if not (_may_sign(leaf) and may_be_a_client(leaf)):
        raise ChainInvalid("the certificate is not for TLS clients", section="RFC 5280 §4.2.1.12")
    for usage in ca.usages:
        if not has_extended_key_usage(leaf, usage):
            raise ChainInvalid(
                f"the certificate's extendedKeyUsage lacks {usage}, which {ca.name!r} wants",
                section="RFC 5280 §4.2.1.12",
            )
    return path


def names_anchor(ca: ClientCA, chain: Sequence[x509.Certificate]) -> bool:
    """Whether a certificate of *chain* says that an anchor of *ca* has issued it."""
    subjects = {anchor.subject for anchor in ca.anchors.anchors}
    return any(certificate.issuer in subjects for certificate in chain)


def enrollee_of(ca: ClientCA, leaf: x509.Certificate, devices: DeviceNames) -> Enrollee:
    """What the holder of *leaf* is entitled to: its subject and DNS names, and nothing else.

    Args:
        ca: that vouches for it.
        devices: names that only BRSKI devices get.

    Raises:
        NotAuthenticated: the owner has denied it.
        CSRMismatch: the subject is a device's, or one that no CA here issues; or a DNS name is a
            device's, or no host's; or one is out of the bounds of *ca*.
    """
    name, names = client_name(ca.name, leaf.subject), dns_names_of(leaf)
    if name in ca.denied:
        raise NotAuthenticated(f"the client {name} is denied", section=_SECTION)
    check_dns_names(names)
    devices.check(leaf.subject, names)
    _check_bounds(ca, leaf.subject, names)
    try:
        check_subject(leaf.subject.public_bytes())
    except CertificateUnsound as err:
        raise CSRMismatch(
            f"the client's own subject cannot be issued here: {err.reason}", section=err.section
        ) from err
    return Enrollee(
        kind=CERTIFICATE,
        device=client_key(CERTIFICATE, name),
        subject=leaf.subject,
        alternative_names=names,
        only_todays_names=True,
    )


def _check_bounds(ca: ClientCA, subject: x509.Name, dns_names: Sequence[str]) -> None:
    if ca.common_names:
        text = _only_common_name(subject)
        if text is None or not any(pattern.matches(text) for pattern in ca.common_names):
            raise _out_of_bounds(ca, f"the subject {subject.rfc4514_string()[:120]!r}")
    for name in dns_names if ca.dns_names else ():
        if not any(pattern.matches(name) for pattern in ca.dns_names):
            raise _out_of_bounds(ca, f"the DNS name {name[:120]!a}")


def _out_of_bounds(ca: ClientCA, what: str) -> CSRMismatch:
    return CSRMismatch(
        f"{what} is out of the bounds of what {ca.name!r} may vouch for",
        section="RFC 7030 §4.2.1",
    )


def client_name(ca: str, subject: x509.Name) -> str:
    """What the journal calls the client *subject* of *ca*; no two clients have one name.

    Returns:
        ``ca:CN`` for a subject of one plain commonName that is short enough; else ``ca::`` and the
        first 32 hex digits of SHA-256 over the subject's DER.
    """
    plain = f"{ca}:{_plain_common_name(subject)}"
    if not plain.endswith(":") and len(plain) <= _NAME_LIMIT:
        return plain
    digest = hashlib.sha256(subject.public_bytes()).hexdigest()
    return f"{ca}::{digest[:_DIGEST_DIGITS]}"


def ca_of(name: str) -> str:
    """The CA in a :func:`client_name`."""
    return name.partition(":")[0]


def dns_names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of its subjectAltName as they stand, each once."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(dict.fromkeys(names.get_values_for_type(x509.DNSName)))


def _plain_common_name(subject: x509.Name) -> str:
    text = _only_common_name(subject)
    return text if text is not None and _PLAIN.match(text) else ""


def _only_common_name(subject: x509.Name) -> str | None:
    attributes = list(subject)
    if len(attributes) != 1 or attributes[0].oid != NameOID.COMMON_NAME:
        return None
    return str(attributes[0].value)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.digital_signature
