"""Builds the EST server from its settings: one desk for each profile, and the default one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from brski.edge.adapters import open_adapter
from brski.errors import SettingsError
from brski.pki.signer import Signer
from brski.rates import Rate
from registrar_plugin.adapters import CA_BACKENDS
from registrar_plugin.ca_backend.port import CABackend
from registrar_plugin.clerk import Clerk
from registrar_plugin.enrollment.enrollee import ByLabel, EnrolleeAuthority
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_server.budget import ClientBudget
from registrar_plugin.est_server.desks import Desk, ESTServer, make_desk
from registrar_plugin.est_server.profile_settings import ESTProfileSettings
from registrar_plugin.est_server.settings import ESTSettings
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.issuances import Issuances
from registrar_plugin.store.port import Journal

log = logging.getLogger(__name__)


def open_est_server(
    settings: ESTSettings,
    *,
    source: Path,
    ca: CABackend,
    opened: Callable[[str, CABackend], object],
    authorities: Mapping[str, EnrolleeAuthority],
    devices: KnownDevices,
    second_use: SecondUse,
    journal: Journal,
    issuances: Issuances,
    clerk: Clerk,
    signer: Signer,
) -> ESTServer:
    """Put the desks together.

    Args:
        source: the settings file.
        ca: of the profiles that name none.
        opened: is told of each further CA, with the label of its profile; the caller closes it.
        authorities: by kind of client.
        signer: the registrar's own.

    Raises:
        SettingsError: a kind of client that there is not, or a CA that cannot be opened.
        LocalError: a key or file of such a CA.
    """
    desks: dict[str, Desk] = {}
    for place, each in enumerate((*settings.profile, *_default_unless_there(settings))):
        where = f"est.profile.{place}"
        issuing = ca
        if each.ca is not None:
            issuing = open_adapter(CA_BACKENDS, each.ca, source=source, where=f"{where}.ca")
            opened(each.label or "", issuing)
        _warn_of_strangers(each.label or "", issuing, signer)
        desks[each.label or ""] = make_desk(
            profile_of(each),
            ca=issuing,
            authorities=[
                _authority(kind, authorities, where, each.label or "") for kind in each.enrollees
            ],
            devices=devices,
            second_use=second_use,
            journal=journal,
            issuances=issuances,
            clerk=clerk,
            signer=signer,
        )
    per_s = settings.requests_per_s_and_client
    rate = Rate(per_s=per_s, burst=max(10.0, 10 * per_s))
    return ESTServer(desks, issuances, ClientBudget(clock=time.monotonic, rate=rate))


def profile_of(settings: ESTProfileSettings) -> EnrollmentProfile:
    """The settings' table as the decisions know it."""
    days = settings.validity_days
    return EnrollmentProfile(
        label=settings.label or "",
        requirements=settings.requirements(),
        announcement=settings.csrattrs,
        base64=settings.base64,
        validity=None if days is None else timedelta(days=days),
        extended_key_usages=settings.purposes(),
        dns_name=settings.dns_name,
        renewable=settings.renewable,
        change_subject_name=settings.change_subject_name,
        server_keys=settings.server_keys,
    )


def _default_unless_there(settings: ESTSettings) -> tuple[ESTProfileSettings, ...]:
    there = any(profile.label is None for profile in settings.profile)
    return () if there else (ESTProfileSettings(),)


def _warn_of_strangers(label: str, ca: CABackend, signer: Signer) -> None:
    """Devices take cacerts for their anchors, and come again to this very registrar."""
    if signer.chain[-1] not in ca.ca_certificates():
        log.warning(
            "cacerts lack the registrar's own root: devices cannot verify it when they renew",
            extra={"label": label},
        )


def _authority(
    kind: str, authorities: Mapping[str, EnrolleeAuthority], where: str, label: str
) -> EnrolleeAuthority:
    if kind not in authorities:
        known = ", ".join(sorted(authorities))
        raise SettingsError(f"{where}.enrollees: no clients of kind {kind!r}; there are: {known}")
    authority = authorities[kind]
    return authority.under(label) if isinstance(authority, ByLabel) else authority
