"""EST clients that say a user name and its password, by HTTP Basic inside TLS (RFC 7030 §3.2.3)."""

from __future__ import annotations

from typing import Final

from brski.errors import NotAuthenticated, PasswordNeeded
from brski.http_basic import BasicCredentials, is_basic, parse_basic
from registrar_plugin.accounts.account import Account
from registrar_plugin.accounts.desk import REALM, PasswordDesk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.enrollment.enrollee import Enrollee
from registrar_plugin.identity.clients import PASSWORD, client_key
from registrar_plugin.identity.model import DeviceKey

_SECTION: Final = "RFC 7030 §3.2.3"


class PasswordClients:
    """An :class:`~registrar_plugin.enrollment.enrollee.EnrolleeAuthority`, and
    :class:`~registrar_plugin.enrollment.enrollee.ByLabel`.

    Args:
        devices: names that no account has.
        label: of the profile; empty for the paths without.
        by_name: labels that admit those accounts alone which name them.
    """

    kind = PASSWORD
    realm: str | None = REALM

    def __init__(
        self,
        desk: PasswordDesk,
        devices: DeviceNames,
        *,
        label: str = "",
        by_name: frozenset[str] = frozenset(),
    ) -> None:
        self._desk = desk
        self._devices = devices
        self._label = label
        self._by_name = by_name

    def under(self, label: str) -> PasswordClients:
        """See :class:`~registrar_plugin.enrollment.enrollee.ByLabel`."""
        return PasswordClients(self._desk, self._devices, label=label, by_name=self._by_name)

    async def recognise(self, connection: PledgeConnection) -> Enrollee | None:
        """The client whose account and password the request names.

        Raises:
            PasswordNeeded: HTTP Basic that cannot be read, or a wrong name or password.
            NotAuthenticated: the account is not for this label.
            CSRMismatch: a name of the account is a device's.
            TooManyRequests, Unavailable, StateError: as
                :meth:`~registrar_plugin.accounts.desk.PasswordDesk.check`.
        """
        if not any(map(is_basic, connection.authorization)):
            return None
        said = _said(connection.authorization)
        return self._enrollee(await self._desk.check(said, connection.address))

    async def check(self, enrollee: Enrollee, connection: PledgeConnection) -> None:
        """Nothing more: an account is the whole of such a client's admission."""

    async def confirm(
        self,
        enrollee: Enrollee,
        connection: PledgeConnection,  # noqa: ARG002 - the port's
    ) -> None:
        """See that the account still stands, and entitles to the same.

        Raises:
            NotAuthenticated: it does not.
        """
        if await self.renewing(enrollee.device) != enrollee:
            raise NotAuthenticated("the account has been changed meanwhile", section=_SECTION)

    async def renewing(self, device: DeviceKey) -> Enrollee:
        """What the account of that name entitles to now.

        Raises:
            NotAuthenticated: there is none any more, or none for this label.
            CSRMismatch, StateError: as for :meth:`recognise`.
        """
        account = await self._desk.account(device.serial_number)
        if account is None:
            raise NotAuthenticated("the client's account was removed", section=_SECTION)
        return self._enrollee(account)

    def _enrollee(self, account: Account) -> Enrollee:
        unnamed = self._label not in self._by_name
        if not account.may_ask_under(self._label, unnamed=unnamed):
            raise NotAuthenticated("the account is for other labels", section="RFC 7030 §3.2.2")
        self._devices.check(account.subject, account.dns_names)
        return Enrollee(
            kind=PASSWORD,
            device=client_key(PASSWORD, account.name),
            subject=account.subject,
            alternative_names=account.dns_names,
            only_todays_names=True,
        )


def _said(authorization: tuple[str, ...]) -> BasicCredentials:
    if len(authorization) > 1:
        raise PasswordNeeded("more than one Authorization header", realm=REALM, section=_SECTION)
    try:
        return parse_basic(authorization[0])
    except NotAuthenticated as err:
        raise PasswordNeeded(err.reason, realm=REALM, section=err.section) from err
