"""Builds the authorities for EST clients that are no devices, out of the settings."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography import x509

from brski.edge.signers.file import load_chain
from brski.errors import SettingsError
from brski.pki.chain import TrustAnchors
from brski.pki.keys import spki_of
from brski.registry import ID_KP_CMC_RA
from registrar_plugin.accounts.desk import AT_ONCE, PasswordDesk
from registrar_plugin.accounts.port import AccountSource
from registrar_plugin.clerk import Clerk
from registrar_plugin.enrollment.client_ca import ClientCA
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.enrollment.enrollee import EnrolleeAuthority
from registrar_plugin.enrollment.name_pattern import parse_pattern
from registrar_plugin.enrollment.registration import RegistrationAuthority
from registrar_plugin.est_clients.certificates import CertificateClients, TrustedCA
from registrar_plugin.est_clients.crl_file import CRLFile
from registrar_plugin.est_clients.passwords import PasswordClients
from registrar_plugin.est_clients.registration import RegistrationAuthorities
from registrar_plugin.est_server.client_settings import ESTClientCASettings
from registrar_plugin.est_server.settings import ESTSettings
from registrar_plugin.health.readiness import Check
from registrar_plugin.identity.clients import CERTIFICATE
from registrar_plugin.store.client_certificates import ClientCertificates
from registrar_plugin.store.port import Journal

_WHERE: Final = "est.client_ca"


def list_checks(authorities: Mapping[str, EnrolleeAuthority]) -> dict[str, Check]:
    """For :class:`~registrar_plugin.health.readiness.Readiness`: one for each CA that has lists."""
    clients = authorities.get(CERTIFICATE)
    return clients.list_checks() if isinstance(clients, CertificateClients) else {}


def open_certificate_clients(
    settings: ESTSettings,
    *,
    own: Sequence[x509.Certificate],
    kept: ClientCertificates,
    journal: Journal,
    clerk: Clerk,
) -> Mapping[str, EnrolleeAuthority]:
    """The authority for clients with certificates of other CAs, by its kind; none without such CAs.

    Args:
        own: the domain's CAs and the registrar's chain, which are no other CAs.

    Raises:
        SettingsError: an anchor is one of *own*.
        LocalError: a file that cannot be used.
    """
    if not settings.client_ca:
        return {}
    own_keys = {spki_of(certificate) for certificate in own}
    clients = CertificateClients(
        [_trusted(ca, own_keys) for ca in settings.client_ca],
        kept=kept,
        devices=DeviceNames(domains=settings.device_domains()),
        journal=journal,
        clerk=clerk,
    )
    return {clients.kind: clients}


def open_registration_authorities(
    settings: ESTSettings, *, journal: Journal, clerk: Clerk
) -> Mapping[str, EnrolleeAuthority]:
    """The authority for registration authorities, by its kind; none without any."""
    if not settings.ra:
        return {}
    authorities = RegistrationAuthorities(
        [
            RegistrationAuthority(
                name=ra.name,
                client=ra.client_key(),
                labels=frozenset(ra.labels),
                common_names=tuple(map(parse_pattern, ra.common_names)),
                dns_names=tuple(map(parse_pattern, ra.dns_names)),
                denied=frozenset(ra.denied),
                foreign_binding=ra.foreign_binding,
            )
            for ra in settings.ra
        ],
        devices=DeviceNames(domains=settings.device_domains()),
        journal=journal,
        clerk=clerk,
    )
    return {authorities.kind: authorities}


def open_password_clients(
    settings: ESTSettings, accounts: AccountSource | None
) -> Mapping[str, EnrolleeAuthority]:
    """The authority for clients that say a password, by its kind; none without *accounts*."""
    if accounts is None:
        return {}
    spare = max(1, (os.cpu_count() or 1) // 2)  # strangers' guesses leave the rest to devices
    desk = PasswordDesk(accounts, clock=time.monotonic, at_once=min(AT_ONCE, spare))
    clients = PasswordClients(
        desk,
        DeviceNames(domains=settings.device_domains()),
        by_name=frozenset(
            each.label or "" for each in settings.profile if ID_KP_CMC_RA in each.purposes()
        ),
    )
    return {clients.kind: clients}


def _trusted(settings: ESTClientCASettings, own_keys: set[bytes]) -> TrustedCA:
    anchors = load_chain(settings.anchors)
    if any(spki_of(anchor) in own_keys for anchor in anchors):
        raise SettingsError(
            f"{_WHERE} {settings.name!r}: {settings.anchors} has a CA of this domain's own, whose "
            "certificates are renewed, and are no credentials for others"
        )
    ca = ClientCA(
        name=settings.name,
        anchors=TrustAnchors(anchors),
        labels=frozenset(settings.labels),
        usages=settings.usages(),
        admits_new=settings.admit_new,
        denied=frozenset(settings.denied),
        common_names=tuple(map(parse_pattern, settings.common_names)),
        dns_names=tuple(map(parse_pattern, settings.dns_names)),
    )
    return TrustedCA(ca=ca, revoked=None if settings.crl is None else CRLFile(settings.crl))
