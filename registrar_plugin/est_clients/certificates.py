"""EST clients that show a certificate of another CA, which the owner trusts for it.

RFC 7030 §3.3.2: a manufacturer's, say, or one of the domain's CA of yesterday.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from cryptography import x509

from brski.errors import ChainInvalid, NotAuthenticated
from brski.pki.keys import certificate_der, spki_of, spki_sha256
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.client_ca import (
    ClientCA,
    ca_of,
    enrollee_of,
    find_path,
    names_anchor,
)
from registrar_plugin.enrollment.client_lists import check_lists, check_revocation
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.enrollment.enrollee import Enrollee
from registrar_plugin.identity.clients import CERTIFICATE
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.identity.presented import parse_presented
from registrar_plugin.store.client_certificates import ClientCertificates, Path
from registrar_plugin.store.port import Journal

_SECTION: Final = "RFC 7030 §3.3.2"


class ListSource(Protocol):
    """Where revocation lists come from."""

    async def lists(self) -> tuple[x509.CertificateRevocationList, ...]:
        """Those that there are now.

        Raises:
            LocalError: they cannot be had.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedCA:
    """A CA of the settings, and what it has revoked."""

    ca: ClientCA
    revoked: ListSource | None = None  # None: nobody asks


class CertificateClients:
    """An :class:`~registrar_plugin.enrollment.enrollee.EnrolleeAuthority`.

    Args:
        cas: in the order in which they are tried.
        kept: by which certificate a client came.
        devices: names that no such client gets.
    """

    kind = CERTIFICATE
    realm: str | None = None

    def __init__(
        self,
        cas: Sequence[TrustedCA],
        *,
        kept: ClientCertificates,
        devices: DeviceNames,
        journal: Journal,
        clerk: Clerk,
    ) -> None:
        self._cas = tuple(cas)
        self._kept = kept
        self._devices = devices
        self._journal = journal
        self._clerk = clerk

    def under(self, label: str) -> CertificateClients:
        """See :class:`~registrar_plugin.enrollment.enrollee.ByLabel`."""
        return CertificateClients(
            [trusted for trusted in self._cas if label in trusted.ca.labels],
            kept=self._kept,
            devices=self._devices,
            journal=self._journal,
            clerk=self._clerk,
        )

    def list_checks(self) -> dict[str, Callable[[], Awaitable[str | None]]]:
        """One for each CA whose lists count: that they have not ended (docs/health.md)."""
        return {
            f"client CA {trusted.ca.name}": partial(self._check_lists, trusted.revoked)
            for trusted in self._cas
            if trusted.revoked is not None
        }

    async def _check_lists(self, revoked: ListSource) -> str | None:
        return check_lists(await revoked.lists(), at=self._clerk.now())

    async def recognise(self, connection: PledgeConnection) -> Enrollee | None:
        """The client whose certificate leads to an anchor of one of the CAs.

        Not one whose key has an onboarding, for that is a device; not who shows a certificate of
        this registrar's, or the registrar's own.

        Raises:
            NotAuthenticated: its certificate names one of them, and is not good; or it is denied.
            CSRMismatch: it has a name that no client gets here.
        """
        if not connection.peer_chain or await self._is_ours(connection):
            return None
        found = self._find(connection)
        if found is None:
            return None
        trusted, path = found
        if not trusted.ca.admits_new:
            raise NotAuthenticated(
                f"clients of {trusted.ca.name!r} renew what they have, and nobody comes anew",
                section=_SECTION,
            )
        return enrollee_of(trusted.ca, path[0], self._devices)

    async def check(self, enrollee: Enrollee, connection: PledgeConnection) -> None:
        """Raise if the other CA has revoked the certificate that the client shows.

        Raises:
            NotAuthenticated: it has.
            Unavailable, LocalError: nobody can tell.
        """
        await self._judged(enrollee, connection)

    async def confirm(self, enrollee: Enrollee, connection: PledgeConnection) -> None:
        """The same once more, with lists that came meanwhile; and take down who vouched for it."""
        path = await self._judged(enrollee, connection)
        await self._kept.keep(enrollee.device, path)

    async def renewing(self, device: DeviceKey) -> Enrollee:
        """What a client that came by such a certificate is entitled to: that certificate's names,
        also after its end, as long as its CA is in the settings and has not revoked it.

        Raises:
            NotAuthenticated: its CA is no longer there, or has revoked the certificate.
            Unavailable, LocalError: nobody can tell.
        """
        name = ca_of(device.serial_number)
        trusted = next((each for each in self._cas if each.ca.name == name), None)
        path = await self._kept.of(device)
        if trusted is None or path is None or path[-1] not in trusted.ca.anchors.anchors:
            raise NotAuthenticated(
                f"the CA that vouched for this client ({name!r}) no longer counts here",
                section=_SECTION,
            )
        await self._check_revocation(trusted, path)
        return enrollee_of(trusted.ca, path[0], self._devices)

    async def _is_ours(self, connection: PledgeConnection) -> bool:
        leaf = connection.leaf()
        if spki_of(leaf) == spki_of(connection.registrar_certificate):
            return True
        digest = hashlib.sha256(certificate_der(leaf)).digest()
        if await self._journal.certificate_by_digest(digest) is not None:
            return True
        return await self._journal.onboarding_by_key(spki_sha256(leaf)) is not None

    def _find(self, connection: PledgeConnection) -> tuple[TrustedCA, Path] | None:
        chain = parse_presented(connection.peer_chain).chain
        why: ChainInvalid | None = None
        for trusted in self._cas:
            try:
                return trusted, find_path(trusted.ca, chain, at=self._clerk.now())
            except ChainInvalid as err:
                if names_anchor(trusted.ca, chain):
                    why = err
        if why is not None:
            raise NotAuthenticated(why.reason, section=why.section or _SECTION) from why
        return None

    async def _judged(self, enrollee: Enrollee, connection: PledgeConnection) -> Path:
        found = self._find(connection)
        if found is None or enrollee_of(found[0].ca, found[1][0], self._devices) != enrollee:
            raise NotAuthenticated("the client shows another certificate", section=_SECTION)
        await self._check_revocation(*found)
        return found[1]

    async def _check_revocation(self, trusted: TrustedCA, path: Path) -> None:
        if trusted.revoked is not None:
            check_revocation(path, await trusted.revoked.lists(), at=self._clerk.now())
