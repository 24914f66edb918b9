"""The MASA's file: what an older one holds still counts."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from brski.pki.extensions import domain_id
from brski.voucher.model import Assertion
from masa_stub.ownership import BuyerKind, Claimant, Sale
from masa_stub.store.log import AuditStore
from masa_stub.store.sales import SalesBook
from masa_stub.store.schema import open_store
from masa_stub.store.values import Basis, Entry
from tests.kit import pki
from tests.kit.masa_desk import OWNER, REGISTRAR, STRANGER

VERSION_1 = """
CREATE TABLE entries (
    id INTEGER NOT NULL PRIMARY KEY, at BIGINT NOT NULL, idevid_issuer BLOB NOT NULL,
    serial_number VARCHAR(64) NOT NULL, domain_id BLOB NOT NULL, nonce TEXT,
    assertion VARCHAR(16) NOT NULL, request_digest BLOB NOT NULL UNIQUE, unsigned BLOB NOT NULL,
    voucher BLOB
);
CREATE INDEX entries_of_device ON entries (serial_number, idevid_issuer);
CREATE TABLE refusals (
    id INTEGER NOT NULL PRIMARY KEY, at BIGINT NOT NULL, serial_number VARCHAR(64) NOT NULL,
    code VARCHAR(48) NOT NULL, reason TEXT NOT NULL
);
PRAGMA user_version = 1;
"""
ISSUER = bytes(20)
NOTHING = Basis(newest=0, sales=0, is_anothers=False)


def entry(digest: bytes, signer: bytes, unsigned: bytes = b"unsigned") -> Entry:
    return Entry(
        at=pki.NOW,
        idevid_issuer=ISSUER,
        serial_number="SN-1",
        domain_id=b"domain",
        nonce=None,
        assertion=Assertion.VERIFIED,
        request_digest=digest,
        unsigned=unsigned,
        spki_sha256=b"p" * 32,
        signer_sha256=signer,
    )


async def begin(store: AuditStore, what: Entry, basis: Basis = NOTHING) -> Entry:
    begun = await store.begin(what, basis)
    assert begun is not None
    return begun


async def test_a_file_of_version_1_is_grown(tmp_path: Path) -> None:
    """Its vouchers name a domainID alone: it counts as far as it follows from a key."""
    path = tmp_path / "masa.db"
    with sqlite3.connect(path) as old:
        old.executescript(VERSION_1)
        old.execute(
            "INSERT INTO entries VALUES (1, 0, ?, 'SN-1', ?, NULL, 'logged', ?, x'00', x'01')",
            (ISSUER, domain_id(OWNER.certificate), bytes(32)),
        )
    old.close()
    writer = open_store(path)
    try:
        store = AuditStore(writer)
        (found,) = await store.of_device(ISSUER, "SN-1")
        assert found.spki_sha256 is None
        assert store.of_voucher(ISSUER, "SN-1", b"\1") == found
        assert store.of_voucher(ISSUER, "SN-1", b"\2") is None
        assert store.of_voucher(ISSUER, "SN-2", b"\1") is None
        assert store.newest_of_device(ISSUER, "SN-1") == found
        assert Claimant(chain=REGISTRAR.chain).holds(found.pinning())
        assert not Claimant(chain=STRANGER.chain).holds(found.pinning())
        judged_on = Basis(newest=found.id, sales=0, is_anothers=False)
        assert await store.begin(entry(b"d" * 32, b"s" * 32), judged_on) is not None
        assert [e.spki_sha256 for e in await store.of_device(ISSUER, "SN-1")] == [None, b"p" * 32]
    finally:
        await writer.close()


async def test_a_voucher_that_was_begun_is_ended_by_the_key_of_now(tmp_path: Path) -> None:
    """Another run's key may be gone; what it laid out names its certificate."""
    writer = open_store(tmp_path / "masa.db")
    try:
        store = AuditStore(writer)
        begun = await begin(store, entry(b"d" * 32, b"1" * 32, b"old"))
        again = await begin(store, entry(b"d" * 32, b"1" * 32, b"new"))
        assert (again.id, again.unsigned) == (begun.id, b"old")
        other = await begin(store, entry(b"d" * 32, b"2" * 32, b"new"))
        assert (other.id, other.unsigned, other.signer_sha256) == (begun.id, b"new", b"2" * 32)
        await store.complete(other, b"signed")
        last = await begin(store, entry(b"d" * 32, b"3" * 32, b"newer"))
        assert (last.voucher, last.unsigned) == (b"signed", b"new")
    finally:
        await writer.close()


async def test_what_was_judged_on_the_past_is_not_entered(tmp_path: Path) -> None:
    """Another entry of the device, a sale, another key under the domainID: nothing is written.
    The request that has its entry gets it all the same.
    """
    writer = open_store(tmp_path / "masa.db")
    try:
        store = AuditStore(writer)
        first = await begin(store, entry(b"1" * 32, b"s" * 32))
        assert await store.begin(entry(b"2" * 32, b"s" * 32), NOTHING) is None
        assert await begin(store, entry(b"1" * 32, b"s" * 32)) == first
        after = replace(NOTHING, newest=first.id)
        sale = Sale(
            at=pki.NOW, idevid_issuer=ISSUER, serial_number="SN-1", kind=BuyerKind.NOBODY, buyer=""
        )
        await SalesBook(writer).add(sale, replace(sale, serial_number="SN-2"))
        assert await store.begin(entry(b"2" * 32, b"s" * 32), after) is None
        sold = replace(after, sales=1)
        other = replace(entry(b"2" * 32, b"s" * 32), spki_sha256=b"q" * 32)
        assert await store.begin(other, sold) is None
        assert await store.last(9) == (first,)
        await begin(store, other, replace(sold, is_anothers=True))
        assert len(await store.last(9)) == 2
    finally:
        await writer.close()


async def test_forgetting_keeps_the_sales(tmp_path: Path) -> None:
    """A laboratory's fresh start is not a sale."""
    writer = open_store(tmp_path / "masa.db")
    try:
        store = AuditStore(writer)
        await begin(store, entry(b"d" * 32, b"1" * 32))
        assert not store.is_anothers(b"domain", b"p" * 32)
        assert not store.is_anothers(b"another", b"q" * 32)
        assert store.is_anothers(b"domain", b"a" * 32)
        assert store.is_anothers(b"domain", b"q" * 32)
        await store.reset()
        assert await store.of_device(ISSUER, "SN-1") == ()
        assert not store.is_anothers(b"domain", b"q" * 32)
    finally:
        await writer.close()
