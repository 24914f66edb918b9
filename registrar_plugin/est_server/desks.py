"""The EST server: one desk for each label, and who completes what an earlier run intended."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brski.pki.signer import Signer
from registrar_plugin.ca_backend.port import CABackend
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.enrollee import AsksForOthers, EnrolleeAuthority
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_server.budget import ClientBudget
from registrar_plugin.est_server.enrolling import Enrolling
from registrar_plugin.est_server.generating import Generating
from registrar_plugin.est_server.issuing import Issuer
from registrar_plugin.est_server.renewing import Renewing
from registrar_plugin.est_server.renewing_for_others import RenewingForOthers
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.issuances import Issuances
from registrar_plugin.store.port import Intent, Journal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The operations under one label."""

    profile: EnrollmentProfile
    issuer: Issuer
    enrolling: Enrolling
    renewing: Renewing
    generating: Generating


def make_desk(
    profile: EnrollmentProfile,
    *,
    ca: CABackend,
    authorities: Sequence[EnrolleeAuthority],
    devices: KnownDevices,
    second_use: SecondUse,
    journal: Journal,
    issuances: Issuances,
    clerk: Clerk,
    signer: Signer,
) -> Desk:
    """Put the operations of *profile* together.

    Args:
        ca: that issues under it.
        authorities: of the kinds of client that it admits, in the order in which they are asked.
        signer: the registrar's own, for keys that are made here.
    """
    others = next((each for each in authorities if isinstance(each, AsksForOthers)), None)
    issuer = Issuer(
        profile=profile, ca=ca, journal=journal, issuances=issuances, clerk=clerk, others=others
    )
    for_others = None
    if others is not None:
        for_others = RenewingForOthers(
            profile=profile,
            authority=others,
            issuer=issuer,
            devices=devices,
            journal=journal,
            issuances=issuances,
            clerk=clerk,
        )
    return Desk(
        profile=profile,
        issuer=issuer,
        enrolling=Enrolling(
            profile=profile,
            authorities=authorities,
            issuer=issuer,
            devices=devices,
            second_use=second_use,
            clerk=clerk,
        ),
        renewing=Renewing(
            profile=profile,
            authorities={authority.kind: authority for authority in authorities},
            issuer=issuer,
            devices=devices,
            second_use=second_use,
            journal=journal,
            issuances=issuances,
            clerk=clerk,
            for_others=for_others,
        ),
        generating=Generating(
            profile=profile,
            authorities=authorities,
            issuer=issuer,
            signer=signer,
            devices=devices,
            second_use=second_use,
            clerk=clerk,
        ),
    )


class ESTServer:
    """All labels of a registrar.

    Args:
        desks: by label; the default one's is empty, and it is there.
        budget: of each client; None: as often as it likes.
    """

    def __init__(
        self,
        desks: Mapping[str, Desk],
        issuances: Issuances,
        budget: ClientBudget | None = None,
    ) -> None:
        self._desks = desks
        self._issuances = issuances
        self._budget = budget

    def count(self, connection: PledgeConnection) -> None:
        """Count a certificate request of whoever is at the other end.

        Raises:
            TooManyRequests: it has asked too often.
        """
        if self._budget is not None:
            self._budget.take(connection)

    def desk(self, label: str) -> Desk | None:
        """The desk of *label*, or None where there is no such label."""
        return self._desks.get(label)

    async def check(self) -> None:
        """See :class:`registrar_plugin.health.port.Checkable`: all that issue could, lately."""
        for desk in self._desks.values():
            await desk.issuer.check()

    async def take_up(self, intent: Intent) -> bool:
        """Complete an LDevID that an earlier run intended; False while it has to stay open."""
        issuance = await self._issuances.of_request(intent.device, intent.request_digest)
        desk = self._desks.get(issuance.label)
        if desk is None:
            log.warning("open intent of a label that is gone", extra={"label": issuance.label})
            return False
        return await desk.issuer.take_up(intent, issuance)
