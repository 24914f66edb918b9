"""The file of accounts: read at the start, again when it changes, and rewritten whole.

Nothing in it is a password, but from a hash a weak one can be guessed: so none but its owner may
read it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import file_error, read_file, write_atomically
from brski.edge.signers.file import check_private_mode
from brski.errors import OnboardingError, StateError
from registrar_plugin.accounts.account import Account, parse_account
from registrar_plugin.accounts.port import Accounts

LOOK_EVERY_S: Final = 1.0  # ours: so long a changed file may go unseen
_FILE_LIMIT: Final = 8 << 20
_MOST: Final = 10_000


def read_accounts(path: Path) -> dict[str, Account]:
    """Every account of a file, by name, in the file's order.

    Raises:
        KeyUnusable: others may read the file.
        StateError: a line that is no account, or one account twice.
        FileUnusable, Unavailable: it cannot be read.
    """
    check_private_mode(path)
    try:
        text = read_file(path, max_octets=_FILE_LIMIT).decode("utf-8")
    except UnicodeDecodeError:
        raise StateError(f"{path} is not UTF-8 text") from None
    accounts: dict[str, Account] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        try:
            account = parse_account(line)
        except StateError as err:
            raise StateError(f"{path}, line {number}: {err.reason}") from None
        if account.name in accounts:
            raise StateError(f"{path}, line {number}: a second account {account.name}")
        accounts[account.name] = account
    if len(accounts) > _MOST:
        raise StateError(f"{path} has more than {_MOST} accounts")
    return accounts


def write_accounts(path: Path, accounts: Iterable[Account]) -> None:
    """Put *accounts* into a file of mode 0600, whole or not at all.

    Raises:
        FileUnusable, Unavailable: as :func:`~brski.edge.atomic_file.write_atomically`.
    """
    text = "".join(f"{account}\n" for account in accounts)
    write_atomically(path, text.encode(), mode=0o600)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file at one moment: its accounts, or what is wrong with it."""

    mark: tuple[int, ...]
    accounts: Accounts
    fault: OnboardingError | None = None


class AccountBook:
    """Implements :class:`~registrar_plugin.accounts.port.AccountSource`: one file.

    Args:
        clock: monotonic seconds.

    Raises:
        LocalError, Unavailable: as :func:`read_accounts`.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._seen = _Seen(_mark(path), read_accounts(path))
        self._looked_s = clock()

    async def accounts(self, *, now: bool = False) -> Accounts:
        """See :class:`~registrar_plugin.accounts.port.AccountSource`.

        The file is looked at in a thread, once a second at most unless *now*. If it has changed and
        cannot be used, nobody gets in by what it said before.
        """
        if now or self._clock() - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self._clock()
            self._seen = await asyncio.to_thread(_look, self._path, self._seen)
        if self._seen.fault is not None:
            raise StateError(f"the accounts cannot be used: {self._seen.fault.reason}")
        return self._seen.accounts

    async def check(self) -> None:
        """See :class:`registrar_plugin.health.port.Checkable`."""
        await self.accounts()


def _look(path: Path, before: _Seen) -> _Seen:
    try:
        mark = _mark(path)
        if mark == before.mark and before.fault is None:
            return before
        return _Seen(mark, read_accounts(path))
    except OnboardingError as fault:
        return _Seen((), {}, fault)


def _mark(path: Path) -> tuple[int, ...]:
    """What differs when the file has been written or its mode changed."""
    try:
        status = os.stat(path)  # noqa: PTH116 - beside the other calls by name
    except OSError as err:
        raise file_error(err, path, "read") from err
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
