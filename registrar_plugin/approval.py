"""Has a person decide of devices that nobody announced, and holds them until then.

What is granted to whom is :mod:`registrar_plugin.admission.judge`'s; here is who waits, how long,
and what the journal says of it (docs/approval.md).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from brski.errors import PledgeNotExpected
from registrar_plugin.admission.judge import (
    Admission,
    AdmissionPolicy,
    check_not_denied,
    judge_admission,
)
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.identity.model import DeviceKey, VerifiedIDevID
from registrar_plugin.store.approvals import Approval, Approvals, Decision
from registrar_plugin.telemetry.events import EventKind, Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRoom:
    """How many devices wait, how long, and when they come again."""

    most: int = 1000
    wait_s: float = 345_600.0  # four days: so long a pledge keeps asking (RFC 8995 §5.6)
    retry_after_s: int = 30  # a pledge waits a minute at most (§5.6)


class AdmissionDesk:
    """The second gate, as the settings and the persons of this domain have it."""

    def __init__(
        self,
        policy: AdmissionPolicy,
        *,
        approvals: Approvals,
        clerk: Clerk,
        room: WaitingRoom | None = None,
    ) -> None:
        self._policy = policy
        self._approvals = approvals
        self._clerk = clerk
        self._room = room or WaitingRoom()

    async def admit(self, verified: VerifiedIDevID, connection: PledgeConnection) -> int | None:
        """Let a device in, or tell it when to ask again.

        Returns:
            None when it may go on; else seconds.

        Raises:
            PledgeNotExpected: the domain does not want it, or nobody has decided in time.
            TooManyRequests: too many wait already.
        """
        standing = await self._approvals.of(verified.device)
        approved = _approved(standing)
        if judge_admission(verified, self._policy, approved=approved) is Admission.ADMITTED:
            return None
        now = self._clerk.now()
        expired = now - timedelta(seconds=self._room.wait_s)
        if standing is None:
            await self._approvals.wait(
                Approval(
                    device=verified.device,
                    decision=Decision.WAITING,
                    manufacturer=verified.manufacturer,
                    peer_address=connection.address,
                    since=now,
                ),
                most=self._room.most,
                expired=expired,
                event=self._clerk.event(
                    EventKind.APPROVAL,
                    verified.device,
                    connection,
                    reason="waits for a person to decide",
                    details={"decision": "waiting", "manufacturer": verified.manufacturer},
                ),
            )
            log.info(
                "device waits for approval",
                extra={"serial_number": verified.device.serial_number},
            )
        elif standing.since < expired:
            await self._give_up(verified.device)
        return self._room.retry_after_s

    async def _give_up(self, device: DeviceKey) -> None:
        why = f"nobody has decided within {self._room.wait_s:g} s"
        event = self._clerk.event(EventKind.APPROVAL, device, outcome=Outcome.REFUSED, reason=why)
        await self._approvals.drop(device, event)
        raise PledgeNotExpected(why, section="RFC 8995 §5.3")

    async def check_not_denied(self, device: DeviceKey) -> None:
        """Raise if *device* has been denied since it was let in.

        Raises:
            PledgeNotExpected: it has.
        """
        approved = _approved(await self._approvals.of(device))
        check_not_denied(device, self._policy, approved=approved)


def _approved(standing: Approval | None) -> bool | None:
    if standing is None or standing.decision is Decision.WAITING:
        return None
    return standing.decision is Decision.APPROVED
