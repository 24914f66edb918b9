"""Names that only BRSKI devices get: no other EST client, whoever vouches for it, has one.

RFC 7030 §4.2.1: that a client is known gives it no right to any name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import CSRMismatch

_SECTION: Final = "RFC 7030 §4.2.1"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNames:
    """What devices are called in this domain."""

    domains: frozenset[str] = frozenset()  # lower case: profiles make devices' DNS names in them

    def check(self, subject: x509.Name, dns_names: Sequence[str]) -> None:
        """Raise if one of these is a device's name, or could be.

        Args:
            dns_names: in whatever case; one with a wildcard stands for all that it matches.

        Raises:
            CSRMismatch: the subject is of their form, or a DNS name in one of their domains.
        """
        check_no_device(subject)
        for name in dns_names:
            if name.lower().rstrip(".").partition(".")[2] in self.domains:
                raise CSRMismatch(f"the DNS name {name!r} is a device's", section=_SECTION)
