"""Names that only BRSKI devices get: no other EST client, whoever vouches for it, has one.

RFC 7030 §4.2.1: that a client is known gives it no right to any name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import CSRMismatch

_SECTION: Final = "RFC 7030 §4.2.1"
_HOST: Final = re.compile(  # RFC 5280 §4.2.1.6, RFC 9525 §6.3: a wildcard is the whole first label
    r"(?=.{1,253}\Z)(?:\*\.)?(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.(?!\Z)|\Z))+\Z"
)
_DEVICES_OWN: Final = frozenset({NameOID.SERIAL_NUMBER, NameOID.DN_QUALIFIER})


def check_no_device(subject: x509.Name) -> None:
    """Raise if *subject* is of the form of an LDevID's: a serialNumber and a dnQualifier in it.

    Whatever stands beside them, and in whatever order (docs/ca.md).

    Raises:
        CSRMismatch: it is.
    """
    if {attribute.oid for attribute in subject} >= _DEVICES_OWN:
        raise CSRMismatch(
            f"the subject {subject.rfc4514_string()!r} is a device's: it gets one by BRSKI",
            section=_SECTION,
        )


def check_dns_names(dns_names: Sequence[str]) -> None:
    """Raise unless each is the name of a host, or of all in a domain, letter by letter.

    Another CA may have put anything there. Readers differ in what they make of a NUL, a space, or
    an empty label, and so in whose name it is.

    Raises:
        CSRMismatch: one is not.

    RFC 5280 §4.2.1.6; RFC 1123 §2.1.
    """
    for name in dns_names:
        if not _HOST.match(name):
            raise CSRMismatch(
                f"the client's own DNS name {name[:80]!a} is no host's", section="RFC 5280 §4.2.1.6"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNames:
    """What devices are called in this domain."""

    domains: frozenset[str] = frozenset()  # lower case: profiles make devices' DNS names in them

    def check(self, subject: x509.Name, dns_names: Sequence[str]) -> None:
        """Raise if one of these is a device's name, or could be.

        Args:
            subject: a commonName counts as a DNS name, since there are clients that read it as one.
            dns_names: in whatever case; one with a wildcard stands for all that it matches.

        Raises:
            CSRMismatch: the subject is of their form, or a DNS name in one of their domains.
        """
        check_no_device(subject)
        common = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        for name in (*common, *dns_names):
            if name.strip().lower().rstrip(".").partition(".")[2] in self.domains:
                raise CSRMismatch(f"the DNS name {name[:80]!a} is a device's", section=_SECTION)
