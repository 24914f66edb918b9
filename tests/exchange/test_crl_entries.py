"""Lists of many certificates, of several CAs, and of journals that an earlier program wrote."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import StateError
from brski.pki.keys import certificate_der
from registrar_plugin.ca_backend.crl import RevokedCertificate, encode_entry
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.revocation import keeper
from registrar_plugin.revocation.keeper import CRLPolicy
from registrar_plugin.store import sqlite_entries
from registrar_plugin.store.rows import microseconds
from registrar_plugin.store.sqlite_crls import SQLiteRevocationLists
from tests.kit import pki
from tests.kit.crl import Lists, listed, revoke
from tests.kit.programs import require_program
from tests.kit.world import World, make_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(tmp_path) as opened:
        yield opened


def change(world: World, *statements: str, **values: object) -> None:
    """What another program did to the journal."""
    with closing(sqlite3.connect(world.folder / "registrar.db")) as db:
        for statement in statements:
            db.execute(statement, values)
        db.commit()


def withdraw_many(world: World, certificate: x509.Certificate, count: int) -> set[int]:
    """Withdraw so many certificates like *certificate*; the numbers of all of them."""
    octets, number = certificate_der(certificate), certificate.serial_number.to_bytes(20, "big")
    at = microseconds(world.clock.now)
    numbers = {(0x41 << 152) + count * 1000 + i for i in range(count)}
    with closing(sqlite3.connect(world.folder / "registrar.db")) as db:
        for each in sorted(numbers):
            made = octets.replace(number, each.to_bytes(20, "big"))
            digest = hashlib.sha256(made).digest()
            row = (digest, bytes(20), f"MANY-{each}", made, digest, digest, "revoked", at)
            db.execute("INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            db.execute(
                "INSERT INTO withdrawals (certificate_sha256, at, reason) VALUES (?, ?, ?)",
                (digest, at, "keyCompromise"),
            )
        db.commit()
    return numbers


async def test_many_are_listed_and_openssl_agrees(world: World, tmp_path: Path) -> None:
    """More than are worked out at once; the signature is good, and each number is there."""
    numbers = withdraw_many(world, await world.onboard(world.make_device()), 700)
    assert len(numbers) > 2 * sqlite_entries.AT_ONCE
    crl = await Lists(world).keeper().refresh()
    assert listed(crl.octets) == numbers
    (tmp_path / "crl.der").write_bytes(crl.octets)
    (tmp_path / "ca.pem").write_bytes(world.owner.chain_pem)
    openssl = (require_program("openssl", "openssl"), "crl", "-inform", "DER", "-in", "crl.der")
    told = subprocess.run(
        [*openssl, "-CAfile", "ca.pem", "-noout", "-text"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "verify OK" in told.stderr
    assert told.stdout.count("Serial Number:") == 700
    assert told.stdout.count("Key Compromise") == 700


async def test_requests_go_on_while_many_are_worked_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the certificates nor a long list are looked into in the thread of the requests."""
    withdraw_many(world, await world.onboard(world.make_device()), 300)
    threads: set[str] = set()
    here = asyncio.get_running_loop()

    def told(name: str, real: object) -> object:
        def tell(*args: object, **named: object) -> object:
            try:
                assert asyncio.get_running_loop() is not here
            except RuntimeError:
                threads.add(name)
            return real(*args, **named)  # type: ignore[operator]  # a function

        return tell

    for module, name in (
        ("registrar_plugin.store.sqlite_entries", "encode_entry"),
        ("registrar_plugin.ca_backend.embedded", "encode_tbs_crl"),
        ("registrar_plugin.revocation.keeper", "parse_crl"),
    ):
        where = __import__(module, fromlist=[name])
        monkeypatch.setattr(where, name, told(name, getattr(where, name)))
    await Lists(world).keeper().refresh()
    assert threads == {"encode_entry", "encode_tbs_crl", "parse_crl"}


async def test_a_certificate_is_looked_into_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next list of many costs what is new in it, in another process, too."""
    numbers = withdraw_many(world, await world.onboard(world.make_device("SN-0")), 300)
    device = world.make_device()
    bad = await world.onboard(device)
    await Lists(world).keeper().refresh()
    looked: list[RevokedCertificate] = []

    def look(entry: RevokedCertificate) -> bytes:
        looked.append(entry)
        return encode_entry(entry)

    monkeypatch.setattr(sqlite_entries, "encode_entry", look)
    await revoke(world, device)
    crl = await Lists(world).keeper().refresh()
    assert listed(crl.octets) == numbers | {bad.serial_number}
    assert [each.serial for each in looked] == [bad.serial_number]


async def test_a_list_that_stands_is_read_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking each two seconds costs a few numbers, not megabytes."""
    keeper = Lists(world).keeper()
    first = await keeper.refresh()
    monkeypatch.setattr(SQLiteRevocationLists, "get", None)
    assert await keeper.refresh() is first


async def test_a_long_list_comes_once_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stays in the journal: many revocations in a row fill no disk. A short one comes at once,
    and a command's, too.
    """
    monkeypatch.setattr(keeper, "LONG_OCTETS", 2000)
    numbers = withdraw_many(world, await world.onboard(world.make_device("SN-0")), 30)
    lists = Lists(world)
    kept = lists.keeper()
    first = await kept.refresh()
    assert len(first.octets) < 2000
    device = world.make_device()
    bad = await world.onboard(device)
    await revoke(world, device)
    more = withdraw_many(world, bad, 60)
    second = await kept.refresh()
    assert (second.number, len(second.octets) > 2000) == (2, True)
    assert numbers | more < listed(second.octets)
    another = world.make_device("SN-2")
    late = await world.onboard(another)
    await revoke(world, another)
    assert await kept.refresh() == second
    assert (await lists.keeper().refresh(now_anyway=True)).number == 3
    world.clock.forward(seconds=61)
    assert late.serial_number in listed((await kept.refresh()).octets)


async def test_a_damaged_certificate_is_told(world: World) -> None:
    """It can be in no list; who keeps the lists hears of it rather than that it is left out."""
    device = world.make_device()
    await world.onboard(device)
    await revoke(world, device)
    change(world, "UPDATE certificates SET certificate = x'3000'")
    with pytest.raises(StateError, match="no certificate"):
        await Lists(world).keeper().refresh()


# -- several CAs


async def test_each_ca_has_its_own_list(world: World) -> None:
    """Certificates of one are in no list of the other; a revocation there makes no new one here;
    numbers are given once for both.
    """
    device = world.make_device()
    bad = await world.onboard(device)
    ours = Lists(world).keeper()
    theirs = Lists(world, ca=EmbeddedCA(pki.make_pki("Another CA").signer)).keeper()
    assert [(await each.refresh()).number for each in (ours, theirs)] == [1, 2]
    await revoke(world, device)
    listed_here, standing = await ours.refresh(), await theirs.refresh()
    assert (listed_here.number, listed(listed_here.octets)) == (3, {bad.serial_number})
    assert (standing.number, listed(standing.octets)) == (2, set())
    again = await Lists(world).keeper().refresh()  # a restart finds its own
    assert again.number == 3


async def test_two_cas_of_one_name_do_not_fight(world: World) -> None:
    """Names may be equal, keys are not: each finds its own last list."""
    other = EmbeddedCA(pki.make_pki("Example Owner").signer)
    keepers = [Lists(world).keeper(), Lists(world, ca=other).keeper()]
    for _ in range(3):
        assert [(await each.refresh()).number for each in keepers] == [1, 2]


# -- journals of earlier programs


async def test_a_list_of_an_earlier_program_stands(world: World) -> None:
    """It did not note whose lists are: they are looked into once, signed or only intended."""
    device = world.make_device()
    await world.onboard(device)
    await revoke(world, device)
    first = await Lists(world).keeper().refresh()
    tbs = x509.load_der_x509_crl(first.octets).tbs_certlist_bytes
    change(
        world,
        "UPDATE crls SET octets = :tbs",
        "DELETE FROM crl_scopes",
        "DELETE FROM crl_entries",
        tbs=tbs,
    )
    assert await Lists(world).keeper().refresh() == first
    unsigned = "UPDATE crls SET octets = :tbs, result = NULL"
    change(world, unsigned, "DELETE FROM crl_scopes", tbs=tbs)
    assert await Lists(world).keeper().refresh() == first


async def test_what_was_superseded_before_the_journal_kept_count_is_listed(world: World) -> None:
    """At the start, where the domain wants such listed: since the next certificate of its device;
    what is active, and what was revoked, is not touched.
    """
    device, other = world.make_device("SN-1"), world.make_device("SN-2")
    first = await world.onboard(device)
    world.clock.forward(days=1)
    then = world.clock.now
    second = await world.enroll(device)
    world.clock.forward(days=1)
    await world.enroll(device)
    await world.onboard(other)
    revoked = await world.enroll(other)
    await revoke(world, other)
    change(world, "DELETE FROM withdrawals WHERE reason = 'superseded'")

    assert isinstance(second, x509.Certificate)
    assert isinstance(revoked, x509.Certificate)
    usual = await Lists(world).keeper().refresh()
    assert revoked.serial_number in listed(usual.octets)
    assert len(listed(usual.octets)) == 2  # of the one that was revoked
    for _ in range(2):
        policy = CRLPolicy(superseded=True)
        crl = await Lists(world, policy=policy).keeper().refresh(now_anyway=True)
        found = {each.serial_number: each for each in x509.load_der_x509_crl(crl.octets)}
        assert set(found) == listed(usual.octets) | {first.serial_number, second.serial_number}
        assert found[first.serial_number].revocation_date_utc == then.replace(microsecond=0)


async def test_a_file_without_the_newer_tables_is_grown(world: World) -> None:
    """As every room's, they are made when the file is opened."""
    await world.journal.close()
    change(world, "DROP TABLE crl_entries", "DROP TABLE crl_scopes", "PRAGMA user_version = 2")
    world.journal = type(world.journal)(world.folder / "registrar.db")
    assert (await Lists(world).keeper().refresh()).number == 1
