"""Whose password it is, and what strangers cannot make it cost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from brski.errors import PasswordNeeded, TooManyRequests, Unavailable
from brski.http_basic import BasicCredentials
from registrar_plugin.accounts.book import AccountBook
from registrar_plugin.accounts.desk import AT_ONCE, KEEP_S, WAITING, PasswordDesk
from registrar_plugin.accounts.scrypt import USUAL, Cost, PasswordHash
from tests.kit.accounts import CHEAP, SECRET, Seconds, account, written

HERE, THERE = "192.0.2.7", "198.51.100.7"


class Verifications:
    """In the place of scrypt: what is verified, and how many at once."""

    def __init__(self) -> None:
        self.done: list[tuple[Cost, str]] = []
        self.most = 0
        self.running = 0
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def fits(self, kept: PasswordHash, password: str) -> bool:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(30)
        with self._lock:
            self.running -= 1
            self.done.append((kept.cost, password))
        return password == SECRET


@pytest.fixture
def scrypt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Verifications]:
    watched = Verifications()
    monkeypatch.setattr(PasswordHash, "fits", lambda kept, said: watched.fits(kept, said))
    yield watched
    watched.gate.set()


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def desk(tmp_path: Path, clock: Seconds) -> PasswordDesk:
    return PasswordDesk(AccountBook(written(tmp_path), clock=clock), clock=clock)


def said(password: str = SECRET, user: str = "gateway") -> BasicCredentials:
    return BasicCredentials(user=user, password=password)


async def test_the_right_password_is_its_accounts(desk: PasswordDesk) -> None:
    """By scrypt itself; another password, or another name, is nobody."""
    assert await desk.check(said(), HERE) == account()
    with pytest.raises(PasswordNeeded, match="user name or password is wrong") as caught:
        await desk.check(said("wrong"), HERE)
    assert caught.value.claimed == "gateway"
    with pytest.raises(PasswordNeeded, match="user name or password is wrong") as caught:
        await desk.check(said(user="nobody"), HERE)
    assert caught.value.claimed == ""
    assert "nobody" not in str(caught.value)


async def test_an_unknown_name_costs_what_an_account_does(
    tmp_path: Path, clock: Seconds, scrypt: Verifications
) -> None:
    """The same each time, and of the costs that there are; in an empty file, the usual one."""
    book = AccountBook(written(tmp_path), clock=clock)
    desk = PasswordDesk(book, clock=clock)
    for _ in range(3):
        with pytest.raises(PasswordNeeded):
            await desk.check(said("wrong", "nobody"), HERE)
    assert [cost for cost, _ in scrypt.done] == [CHEAP] * 3
    (tmp_path / "accounts").write_bytes(b"")
    clock.now += 2
    with pytest.raises(PasswordNeeded):
        await desk.check(said("wrong", "nobody"), HERE)
    assert scrypt.done[-1][0] == USUAL


async def test_a_good_password_is_remembered_for_a_minute(
    desk: PasswordDesk, clock: Seconds, scrypt: Verifications
) -> None:
    """So that one client's requests cost one verification; a wrong one is never remembered."""
    for _ in range(3):
        await desk.check(said(), HERE)
    assert len(scrypt.done) == 1
    clock.now = KEEP_S - 1
    await desk.check(said(), THERE)
    assert len(scrypt.done) == 1
    with pytest.raises(PasswordNeeded):
        await desk.check(said("correct hors"), HERE)
    clock.now = KEEP_S
    await desk.check(said(), HERE)
    assert len(scrypt.done) == 3


async def test_a_changed_account_is_not_remembered(
    tmp_path: Path, clock: Seconds, scrypt: Verifications
) -> None:
    """Not with another password, and not with other names; a removed one is gone."""
    desk = PasswordDesk(AccountBook(written(tmp_path), clock=clock), clock=clock)
    await desk.check(said(), HERE)
    written(tmp_path, account(dns_names=("a.example.com",)))
    clock.now = 2
    assert (await desk.check(said(), HERE)).dns_names == ("a.example.com",)
    assert len(scrypt.done) == 2
    written(tmp_path, account("other"))
    clock.now = 4
    with pytest.raises(PasswordNeeded):
        await desk.check(said(), HERE)
    assert await desk.account("gateway") is None
    assert await desk.account("other") == account("other")


async def test_who_fails_too_often_is_turned_away(
    desk: PasswordDesk, clock: Seconds, scrypt: Verifications
) -> None:
    """By its address, before anything is computed, and whatever name it says next; elsewhere the
    client gets in, and after the time that was named it does here, too.
    """
    for n in range(10):
        with pytest.raises(PasswordNeeded):
            await desk.check(said("wrong", f"name{n}"), HERE)
    with pytest.raises(TooManyRequests) as caught:
        await desk.check(said(), HERE)
    assert len(scrypt.done) == 10
    await desk.check(said(), THERE)
    clock.now += caught.value.retry_after_s
    await desk.check(said(), HERE)


@pytest.mark.parametrize("name", ["gateway", "nobody"])
async def test_one_name_is_not_guessed_at_from_everywhere(
    desk: PasswordDesk, scrypt: Verifications, name: str
) -> None:
    """Known or not: the answer tells nothing of that. Who got in a minute ago still does."""
    await desk.check(said(), THERE)
    for n in range(20):
        with pytest.raises(PasswordNeeded):
            await desk.check(said("wrong", name), f"192.0.2.{n}")
    with pytest.raises(TooManyRequests):
        await desk.check(said("wrong", name), "203.0.113.1")
    assert len(scrypt.done) == 21
    await desk.check(said(), THERE)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
async def test_few_run_at_once_and_few_wait(
    tmp_path: Path, clock: Seconds, scrypt: Verifications, at_once: int
) -> None:
    """The rest is told to come again; the loop goes on meanwhile; who was counted out while
    waiting is not verified any more.
    """
    book = AccountBook(written(tmp_path), clock=clock)
    desk = PasswordDesk(book, clock=clock, at_once=at_once)
    scrypt.gate.clear()
    waiting = [
        asyncio.create_task(desk.check(said("wrong", f"name{n}"), HERE)) for n in range(WAITING)
    ]
    await until(lambda: scrypt.running == at_once)
    with pytest.raises(Unavailable):
        await desk.check(said(), THERE)
    scrypt.gate.set()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert scrypt.most == at_once
    refused = [type(error) for error in ended]
    assert set(refused) == {PasswordNeeded, TooManyRequests}
    assert len(scrypt.done) <= 10 + at_once
    await desk.check(said(), THERE)
