"""A device joins a network: one registrar after the other, until one enrolls it (RFC 8995 §4.1)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from brski.errors import (
    LocalError,
    SettingsError,
)
from brski.voucher.cms import CMS
from brski.voucher.serialization import VoucherSerialization
from device_client.attempt import Attempt
from device_client.candidates import Candidates
from device_client.discovery.port import Discovery
from device_client.identity.port import DeviceIdentity
from device_client.journey import check_owner, journey_of
from device_client.keystore.port import Keystore
from device_client.outcome import Outcome, World, outcome_of, verdict_of
from device_client.pledge.origin import Origin
from device_client.pledge.policy import Policy
from device_client.pledge.states import (
    Phase,
    Started,
)
from device_client.transport.http import Limits
from device_client.turn import Turn

log = logging.getLogger(__name__)

FIRST_DELAY_S: Final = 5.0  # ours: after the first failure at one registrar


async def onboard(
    identity: DeviceIdentity,
    registrars: Sequence[Origin],
    keystore: Keystore,
    *,
    policy: Policy | None = None,
    limits: Limits | None = None,
    rounds: int = 1,
    first_delay_s: float = FIRST_DELAY_S,
    discovery: Discovery | None = None,
    serialization: VoucherSerialization = CMS,
    world: World | None = None,
) -> Outcome:
    """Bring the device from the factory state to an LDevID; or say why not.

    A device that holds an LDevID does not bootstrap: it reports its success if it was cut off
    before that, and is done (RFC 8995 §5).

    Args:
        identity: the IDevID key, and what the device may say of it.
        registrars: tried in turn, each with a back-off of its own (RFC 8995 §4.1).
        keystore: held for the whole time.
        policy: which vouchers are accepted, and how long a 202 is borne with.
        limits: time and octets of each exchange.
        rounds: how often each registrar is tried, and *discovery* looks; 0 for ever.
        first_delay_s: the back-off after a first failure at one registrar; it doubles to an hour.
        discovery: what finds further ones, looked at before each round.
        serialization: of voucher-requests and vouchers.
        world: clock, randomness, sleep, onlooker.

    Returns:
        The end. Of several refusals the last; a registrar that was silent weighs more, since it
        may be tried again.

    Raises:
        LocalError: the device's own key, keystore or settings fail.
        Unavailable: the keystore's disk is full or failing; or nobody was found in all rounds.
    """
    outside = world or World()
    if not registrars and discovery is None:
        raise SettingsError(
            "no registrar is given",
            hint="name one, or set [discovery] to find those that announce themselves",
        )
    journey = journey_of(
        identity,
        keystore,
        policy=policy,
        limits=limits,
        serialization=serialization,
        world=outside,
    )
    with keystore.exclusive():
        stored = keystore.load()
        check_owner(stored, journey)
        if stored.phase is not Phase.FACTORY and stored.enrollment is not None:
            started = Started(phase=stored.phase, enrollment=stored.enrollment)
            ended = await Attempt(journey, stored.enrollment.origin).run(started)
            return outcome_of(ended, stored.enrollment)
        turn = Turn(journey, Candidates(registrars, first_delay_s), discovery)
        ended = await turn.until_enrolled(rounds)
    verdict = verdict_of(ended)
    if isinstance(verdict.error, LocalError):
        raise verdict.error
    return outcome_of(ended, ended.enrollment)
