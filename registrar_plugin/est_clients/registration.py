"""Registration authorities as EST clients: they ask for others, within what the owner lets them.

RFC 7030 §3.7. An RA is known by its certificate, which the journal has octet for octet, with
id-kp-cmcRA in it; somebody else's certificate with that purpose, the registrar's own too, is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from brski.errors import CSRMismatch, NotAuthenticated
from brski.est.csr import CSR
from brski.pki.extensions import has_extended_key_usage
from brski.pki.keys import certificate_der
from brski.registry import ID_KP_CMC_RA
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.enrollment.enrollee import Enrollee
from registrar_plugin.enrollment.profile import GrantedNames
from registrar_plugin.enrollment.registration import (
    RegistrationAuthority,
    check_granted,
    client_of,
    ra_of,
)
from registrar_plugin.enrollment.renewal import check_current
from registrar_plugin.identity.clients import RA
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.port import Journal

_SECTION: Final = "RFC 7030 §3.7"


class RegistrationAuthorities:
    """An :class:`~registrar_plugin.enrollment.enrollee.EnrolleeAuthority` that
    :class:`~registrar_plugin.enrollment.enrollee.AsksForOthers`.

    Args:
        devices: names that no RA's client gets.
    """

    kind = RA
    realm: str | None = None

    def __init__(
        self,
        authorities: Sequence[RegistrationAuthority],
        *,
        devices: DeviceNames,
        journal: Journal,
        clerk: Clerk,
    ) -> None:
        self._authorities = tuple(authorities)
        self._devices = devices
        self._journal = journal
        self._clerk = clerk

    def under(self, label: str) -> RegistrationAuthorities:
        """See :class:`~registrar_plugin.enrollment.enrollee.ByLabel`."""
        return RegistrationAuthorities(
            [ra for ra in self._authorities if label in ra.labels],
            devices=self._devices,
            journal=self._journal,
            clerk=self._clerk,
        )

    async def recognise(self, connection: PledgeConnection) -> Enrollee | None:
        """The RA at the other end, as the client that its certificate was issued to.

        Raises:
            NotAuthenticated: it is listed as one, and its certificate is not an RA's, or is
                superseded, revoked or out of its time.
        """
        if not connection.peer_chain:
            return None
        leaf = connection.leaf()
        octets = certificate_der(leaf)
        current = await self._journal.certificate_by_digest(hashlib.sha256(octets).digest())
        if current is None or current.certificate != octets:
            return None
        if self._of(current.device) is None:
            return None
        if not has_extended_key_usage(leaf, ID_KP_CMC_RA):
            raise NotAuthenticated(
                "the certificate lacks id-kp-cmcRA in extendedKeyUsage", section=_SECTION
            )
        check_current(leaf, current.state, now=self._clerk.now())
        return Enrollee(kind=RA, device=current.device, subject=leaf.subject)

    async def check(self, enrollee: Enrollee, connection: PledgeConnection) -> None:
        """Nothing more: its certificate is the whole of its admission."""

    async def confirm(self, enrollee: Enrollee, connection: PledgeConnection) -> None:
        """See that its certificate still stands; the intent's transaction sees to it once more.

        Raises:
            NotAuthenticated: it does not.
        """
        if await self.recognise(connection) != enrollee:
            raise NotAuthenticated("the client is no registration authority", section=_SECTION)

    async def renewing(self, device: DeviceKey) -> Enrollee:
        """Nobody: who was enrolled by an RA is renewed by it.

        Raises:
            NotAuthenticated: always.
        """
        raise NotAuthenticated(
            f"the registration authority {ra_of(device)!r} renews this certificate",
            section=_SECTION,
        )

    def on_behalf(self, asking: Enrollee, csr: CSR, connection: PledgeConnection) -> Enrollee:
        """See :meth:`~registrar_plugin.enrollment.enrollee.AsksForOthers.on_behalf`."""
        ra = self._of(asking.device)
        if ra is None:
            raise NotAuthenticated("the client is no registration authority", section=_SECTION)
        shown = hashlib.sha256(certificate_der(connection.leaf())).digest()
        return client_of(ra, csr.subject, csr.subject_alternative_name, shown, self._devices)

    def check_granted(self, device: DeviceKey, names: GrantedNames) -> None:
        """See :meth:`~registrar_plugin.enrollment.enrollee.AsksForOthers.check_granted`."""
        ra = next((each for each in self._authorities if each.name == ra_of(device)), None)
        if ra is None:
            raise CSRMismatch("nobody may ask for this client", section=_SECTION)
        check_granted(ra, device, names)

    def _of(self, client: DeviceKey) -> RegistrationAuthority | None:
        return next((ra for ra in self._authorities if ra.client == client), None)
