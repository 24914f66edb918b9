"""The port to whoever keeps the accounts of EST clients that are no devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from registrar_plugin.accounts.account import Account

Accounts: TypeAlias = Mapping[str, Account]


class AccountSource(Protocol):
    """Knows every account; an operator may change them at any time."""

    async def accounts(self, *, now: bool = False) -> Accounts:
        """Every account, by name, as it was a second ago at the most.

        Args:
            now: as it is this moment.

        Raises:
            StateError: they cannot be had: nobody gets in then.
        """
