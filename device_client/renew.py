"""An enrolled device has its LDevID renewed, by a registrar of its domain. RFC 7030 §4.2.2."""

from __future__ import annotations

import secrets

from brski.errors import LocalError, StateError, Unavailable
from brski.voucher.cms import CMS
from device_client.attempt import Attempt
from device_client.discovery.port import Discovery
from device_client.identity.port import DeviceIdentity
from device_client.journey import Journey, check_owner, journey_of
from device_client.keystore.port import RenewableKeystore, Stored
from device_client.outcome import Outcome, World, outcome_of, verdict_of
from device_client.pledge.attempt import Onboarding
from device_client.pledge.backoff import between_s
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
    discovery: Discovery | None = None,
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
        discovery: what finds others of the domain's, where that one is not to be had.
        policy: how long a 202 is borne with.
        limits: time and octets of each exchange.
        world: clock, randomness, sleep, onlooker.

    Returns:
        The end of the one attempt that met the domain, or else of the last. ``renewed`` or
        ``renewed-unreported``: the new LDevID is kept; anything else leaves the former one.

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
        if discovery is not None and not _met_domain(ended):
            ended = await _elsewhere(journey, started, ended, discovery)
    error = verdict_of(ended).error
    if isinstance(error, LocalError):
        raise error
    return outcome_of(ended, ended.enrollment)


def _met_domain(ended: Onboarding) -> bool:
    """Whether a server of the domain was there, and so anything was said at all."""
    return bool(ended.registrar_chain) or isinstance(verdict_of(ended).error, LocalError)


async def _elsewhere(
    journey: Journey, started: Started, ended: Onboarding, discovery: Discovery
) -> Onboarding:
    """Try those that announce themselves, a few seconds apart, until one is of the domain."""
    try:
        found = await discovery.look()
    except Unavailable:
        return ended
    for origin in found:
        if origin == ended.origin:
            continue
        await journey.outside.sleep(between_s(secrets.randbelow(1001) / 1000))
        ended = await Attempt(journey, origin).run(started)
        if _met_domain(ended):
            break
    return ended


def _enrollment_of(stored: Stored) -> Enrollment:
    if stored.enrollment is None:
        raise StateError("there is no LDevID to renew", hint="brski-pledge onboard")
    return stored.enrollment
