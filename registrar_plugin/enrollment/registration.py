"""Registration authorities: whom they may ask for, and what their clients are called.

An RA is a client of ours whose certificate has id-kp-cmcRA, and whom the owner has listed with the
names that it may ask for (docs/est.md). That purpose alone gives nobody a right.

RFC 7030 §3.7; RFC 5272 §2.1; RFC 6402 §2.10.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import CSRMismatch, NotAuthenticated
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.enrollment.enrollee import AskedBy, Enrollee
from registrar_plugin.enrollment.name_pattern import NamePattern
from registrar_plugin.enrollment.profile import GrantedNames
from registrar_plugin.identity.clients import RA, client_key
from registrar_plugin.identity.model import DeviceKey

NAME_LIMIT: Final = 64  # of a client in the journal, the RA's name and a colon included
_SECTION: Final = "RFC 7030 §3.7"
_DNS_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_DNS_LIMIT: Final = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationAuthority:
    """One of the settings."""

    name: str  # 1 to 16 characters of a-z 0-9 -
    client: DeviceKey  # whose certificate it is: a client of kind password or certificate
    labels: frozenset[str]  # of the profiles under which it may ask; empty text: the default one
    common_names: tuple[NamePattern, ...]
    dns_names: tuple[NamePattern, ...] = ()
    denied: frozenset[str] = frozenset()  # clients that get nothing more, as the journal calls them
    foreign_binding: bool = False  # requests may be bound to connections of its own clients


def client_of(
    ra: RegistrationAuthority,
    subject: x509.Name,
    alternative_name: x509.SubjectAlternativeName | None,
    certificate_sha256: bytes,
    devices: DeviceNames,
) -> Enrollee:
    """Whom *ra* asks for, if it may.

    Args:
        subject, alternative_name: of the certificate request.
        certificate_sha256: of the RA's own certificate, DER, with which it asks.
        devices: names that only BRSKI devices get.

    Raises:
        CSRMismatch: a name that is not the RA's to ask for.
        NotAuthenticated: the owner has denied the client.
    """
    names = _dns_names(alternative_name)
    _check_scope(ra, subject, names)
    devices.check(subject, names)
    return Enrollee(
        kind=RA,
        device=client_key(RA, _client_name(ra, subject)),
        subject=subject,
        alternative_names=names,
        only_todays_names=True,
        asked_by=AskedBy(
            name=ra.name,
            certificate_sha256=certificate_sha256,
            foreign_binding=ra.foreign_binding,
        ),
    )


def check_granted(ra: RegistrationAuthority, device: DeviceKey, names: GrantedNames) -> None:
    """Raise unless a certificate of these names may be signed for the client *device* of *ra*.

    The last look before the signature, at what is to be signed and not at what was asked.

    Raises:
        CSRMismatch: a name that is not the RA's to ask for, or not this client's.
        NotAuthenticated: the owner has denied the client.
    """
    _check_scope(ra, names.subject, _dns_names(names.alternative_name))
    if device != client_key(RA, _client_name(ra, names.subject)):
        raise CSRMismatch("the subject is another client's", section=_SECTION)


def ra_of(client: DeviceKey) -> str:
    """The name of the RA that asks for *client*, which is of kind ``ra``."""
    return client.serial_number.partition(":")[0]


def _client_name(ra: RegistrationAuthority, subject: x509.Name) -> str:
    return f"{ra.name}:{_common_name(subject)}"


def _check_scope(ra: RegistrationAuthority, subject: x509.Name, dns_names: Sequence[str]) -> None:
    text = _common_name(subject)
    if text is None or not any(pattern.matches(text) for pattern in ra.common_names):
        raise _outside(ra, f"the subject {subject.rfc4514_string()[:120]!r}", ra.common_names)
    name = _client_name(ra, subject)
    if name in ra.denied:
        raise NotAuthenticated(f"the client {name} is denied", section=_SECTION)
    if len(name) > NAME_LIMIT:
        raise CSRMismatch(f"the common name {text!r} is too long here", section=_SECTION)
    for host in dns_names:
        if not _is_host(host) or not any(pattern.matches(host) for pattern in ra.dns_names):
            raise _outside(ra, f"the DNS name {host[:120]!r}", ra.dns_names)


def _common_name(subject: x509.Name) -> str | None:
    """Of a subject of one commonName and nothing else."""
    attributes = list(subject)
    if len(attributes) != 1 or attributes[0].oid != NameOID.COMMON_NAME:
        return None
    return str(attributes[0].value)


def _dns_names(alternative_name: x509.SubjectAlternativeName | None) -> tuple[str, ...]:
    if alternative_name is None:
        return ()
    if not all(isinstance(name, x509.DNSName) for name in alternative_name):
        raise CSRMismatch(
            "an alternative name that is no DNS name is nobody's to ask for", section=_SECTION
        )
    return tuple(alternative_name.get_values_for_type(x509.DNSName))


def _is_host(name: str) -> bool:
    return len(name) <= _DNS_LIMIT and all(map(_DNS_LABEL.match, name.split(".")))


def _outside(ra: RegistrationAuthority, what: str, patterns: Sequence[NamePattern]) -> CSRMismatch:
    may = ", ".join(map(str, patterns)) or "none"
    return CSRMismatch(
        f"{what} is not the registration authority {ra.name!r}'s to ask for: {may}",
        section=_SECTION,
        found=what,
        wanted=may,
    )
