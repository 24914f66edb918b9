"""Says whose user name and password these are, at a cost that strangers cannot drive up.

A verification takes a thread for a fifth of a second and 32 MiB, whether there is such an account
or not. Few run at once and few wait; who fails too often is turned away before; and what was found
good is remembered for a minute by a keyed digest, so that the requests of one client cost one.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from brski.errors import PasswordNeeded, TooManyRequests, Unavailable
from brski.http_basic import BasicCredentials
from brski.rates import Rate, TokenBuckets, subnet_of
from registrar_plugin.accounts.account import Account
from registrar_plugin.accounts.port import Accounts, AccountSource
from registrar_plugin.accounts.scrypt import HASH_OCTETS, SALT_OCTETS, USUAL, PasswordHash

REALM: Final = "EST"
AT_ONCE: Final = 2  # ours: verifications at the most, 64 MiB together
WAITING: Final = 32  # ours: beyond it a client is told to come again
KEEP_S: Final = 60.0  # ours: so long a good password is remembered, unless its account changes
PER_ADDRESS: Final = Rate(per_s=1 / 10, burst=10)  # ours: wrong ones of one address
PER_ACCOUNT: Final = Rate(per_s=1 / 5, burst=20)  # ours: and for one name, from wherever
_REMEMBERED: Final = 1024
_COUNTED: Final = 4096
_SECTION: Final = "RFC 7030 §3.2.3"


class PasswordDesk:
    """Of one registrar.

    Args:
        clock: monotonic seconds.
        at_once: verifications, of which each keeps a processor busy.
    """

    def __init__(
        self, book: AccountSource, *, clock: Callable[[], float], at_once: int = AT_ONCE
    ) -> None:
        self._book = book
        self._clock = clock
        self._key = secrets.token_bytes(32)  # of this process
        self._decoy_salt = secrets.token_bytes(SALT_OCTETS)
        self._good: OrderedDict[bytes, float] = OrderedDict()  # until when, by keyed digest
        self._by_address = TokenBuckets(PER_ADDRESS, remembered=_COUNTED)
        self._by_name = TokenBuckets(PER_ACCOUNT, remembered=_COUNTED)
        self._turn = asyncio.Semaphore(at_once)
        self._waiting = 0

    async def account(self, name: str) -> Account | None:
        """The account *name* as the file has it now, whoever asks."""
        return (await self._book.accounts(now=True)).get(name)

    async def check(self, said: BasicCredentials, address: str) -> Account:
        """The account that *said* is of.

        Args:
            address: of who says it.

        Raises:
            PasswordNeeded: there is no such account, or its password is another.
            TooManyRequests: too many wrong ones came from this address or for this name.
            Unavailable: too many wait.
            StateError: the file of accounts cannot be used.
        """
        accounts = await self._book.accounts()
        account = accounts.get(said.user)
        if account is None or not self._remembers(account, said):
            await self._verify(said, address, account, accounts)
        assert account is not None  # noqa: S101 - for the type: else it was no good password
        return account

    async def _verify(
        self, said: BasicCredentials, address: str, account: Account | None, accounts: Accounts
    ) -> None:
        place, name = subnet_of(address), self._digest(b"name", said.user)
        self._check_may_try(place, name)
        async with self._one_turn():
            self._check_may_try(place, name)  # others at the same may have failed meanwhile
            kept = self._decoy(name, accounts) if account is None else account.password
            fits = await asyncio.to_thread(kept.fits, said.password)
        if account is None or not fits:
            self._by_address.take(place, self._clock())
            self._by_name.take(name, self._clock())
            raise PasswordNeeded(
                "user name or password is wrong",
                realm=REALM,
                claimed="" if account is None else account.name,
                section=_SECTION,
            )
        self._remember(account, said)

    def _check_may_try(self, place: str, name: bytes) -> None:
        now = self._clock()
        wait_s = max(self._by_address.wait(place, now), self._by_name.wait(name, now))
        if wait_s:
            raise TooManyRequests(
                "too many wrong passwords", retry_after_s=math.ceil(wait_s), section=_SECTION
            )

    @asynccontextmanager
    async def _one_turn(self) -> AsyncIterator[None]:
        if self._waiting >= WAITING:
            raise Unavailable("too many passwords wait to be verified", retry_after_s=5)
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    def _decoy(self, name: bytes, accounts: Accounts) -> PasswordHash:
        """What nobody's password fits; an unknown name costs what some account does, always the
        same one.
        """
        costs = [account.password.cost for account in accounts.values()] or [USUAL]
        cost = costs[int.from_bytes(name[:8]) % len(costs)]
        octets = secrets.token_bytes(HASH_OCTETS)
        return PasswordHash(cost=cost, salt=self._decoy_salt, octets=octets)

    def _remembers(self, account: Account, said: BasicCredentials) -> bool:
        until = self._good.get(self._digest(str(account).encode(), said.password))
        return until is not None and self._clock() < until

    def _remember(self, account: Account, said: BasicCredentials) -> None:
        digest = self._digest(str(account).encode(), said.password)
        self._good[digest] = self._clock() + KEEP_S
        self._good.move_to_end(digest)
        if len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)

    def _digest(self, what: bytes, said: str) -> bytes:
        return hmac.digest(self._key, what + b"\0" + said.encode(), "sha256")
