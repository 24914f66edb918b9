"""What one EST label stands for: which certificates are issued under it, and to whom.

RFC 7030 §3.2.2 lets a server offer several CAs or kinds of certificate, each under a label in the
path; here each label is one profile (docs/est.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cryptography import x509

from brski.errors import CSRMismatch
from brski.est.csr_attributes import Announcement
from brski.est.requirements import P256, P384, CSRRequirements
from brski.est.transfer import Base64Shape
from registrar_plugin.identity.model import DeviceKey

USUAL_REQUIREMENTS: Final = CSRRequirements(keys=(P256, P384))
"""Either curve; the first is announced. No extension is granted on request."""

PLACE: Final = "{serial_number}"
_HOST_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentProfile:
    """As written in the settings; without any, the profile of the paths without label."""

    label: str = ""  # empty: the default profile
    requirements: CSRRequirements = USUAL_REQUIREMENTS  # announced by csrattrs
    announcement: Announcement = Announcement.LIST
    base64: Base64Shape = "auto"  # of the answers
    validity: timedelta | None = None  # None: as the CA has it
    extended_key_usages: tuple[str, ...] = ()  # dotted; none: as the CA has it
    dns_name: str | None = None  # with PLACE in it: the name that each certificate gets
    renewable: bool = True
    change_subject_name: bool = False  # whether a renewal may move to the name it is entitled to
    server_keys: bool = False  # whether keys are made here for those who ask

    def alternative_name(self, device: DeviceKey, *own: str) -> x509.SubjectAlternativeName | None:
        """The subjectAltName that *device* is entitled to under this profile; None for none.

        Args:
            own: DNS names that are its own, whatever the profile.

        Raises:
            CSRMismatch: its serial number makes no DNS name.
        """
        names = dict.fromkeys([*self._names_made_of(device), *own])  # each once, in this order
        return x509.SubjectAlternativeName(map(x509.DNSName, names)) if names else None

    def _names_made_of(self, device: DeviceKey) -> list[str]:
        if self.dns_name is None:
            return []
        if not _HOST_LABEL.match(device.serial_number):
            raise CSRMismatch(
                f"the serial number {device.serial_number!r} is no label of a DNS name, "
                "which this profile makes of it",
                section="RFC 1123 §2.1",
            )
        return [self.dns_name.replace(PLACE, device.serial_number).lower()]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedNames:
    """The names that a certificate gets: what its client is entitled to, not what it asked for."""

    subject: x509.Name
    alternative_name: x509.SubjectAlternativeName | None
