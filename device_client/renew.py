"""An enrolled device has its LDevID renewed, by a registrar of its domain. RFC 7030 §4.2.2."""

from __future__ import annotations

from brski.errors import LocalError, StateError
from brski.voucher.cms import CMS
from device_client.attempt import Attempt
from device_client.identity.port import DeviceIdentity
from device_client.journey import check_owner, journey_of
from device_client.keystore.port import RenewableKeystore, Stored
from device_client.outcome import Outcome, World, outcome_of, verdict_of
from device_client.pledge.origin import Origin
from device_client.pledge.policy import Policy
from device_client.pledge.states import Enrollment, Renewal, Started
from device_client.transport.http import Limits


async def renew(
    identity: DeviceIdentity,
    keystore: RenewableKeystore,
    *,
    rekey: bool = False,
    registrar: Origin | None = None,
    policy: Policy | None = None,
    limits: Limits | None = None,
    world: World | None = None,
) -> Outcome:
    """Have the LDevID renewed; the former one holds until the new one is kept.

    A renewal that was cut off goes on as it began: its CSR may have been answered by a certificate
    that never arrived, and the same CSR brings it.

    Args:
        identity: whose the LDevID is.
        keystore: held for the whole time.
        rekey: for a fresh key instead of the one that is there.
        registrar: whom to ask; the one that the LDevID came from when None.
        policy: how long a 202 is borne with.
        limits: time and octets of each exchange.
        world: clock, randomness, sleep, onlooker.

    Returns:
        The end of one attempt: ``renewed`` or ``renewed-unreported`` when the new LDevID is kept;
        anything else leaves the former one where it is.

    Raises:
        LocalError: there is no LDevID, or the device's own key, keystore or settings fail.
        Unavailable: the keystore's disk is full or failing.
    """
    journey = journey_of(
        identity,
        keystore,
        policy=policy,
        limits=limits,
        serialization=CMS,
        world=world or World(),
        renewable=keystore,
    )
    with keystore.exclusive():
        stored = keystore.load()
        check_owner(stored, journey)
        enrollment = _enrollment_of(stored)
        wanted = stored.renewal or (Renewal.FRESH_KEY if rekey else Renewal.SAME_KEY)
        started = Started(phase=stored.phase, enrollment=enrollment, renewal=wanted)
        ended = await Attempt(journey, registrar or enrollment.origin).run(started)
    error = verdict_of(ended).error
    if isinstance(error, LocalError):
        raise error
    return outcome_of(ended, ended.enrollment)


def _enrollment_of(stored: Stored) -> Enrollment:
    if stored.enrollment is None:
        raise StateError("there is no LDevID to renew", hint="brski-pledge onboard")
    return stored.enrollment
