"""The registrar's copy of manifests: what it takes, what it never forgets, what it answers."""

from __future__ import annotations

import hashlib
import io
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from brski.edge.sqlite import connect
from brski.errors import ManifestRefused, SerialNumberMismatch, StateError, Unavailable
from brski.idevid.manifest import open_manifest
from brski.idevid.record import SUPERSEDED, DeviceRecord, DeviceStatus
from registrar_plugin.oem_source.manifest import ManifestSource
from registrar_plugin.oem_source.manifest_copy import (
    Loaded,
    LoadedManifest,
    ManifestCopy,
    load_manifest,
)
from tests.kit import pki
from tests.kit.manifest import ALIVE, CREATED, OWNER, SIGNER_ID, manifest
from tests.kit.world import Clock
from tests.unit.idevid.test_manifest import RECORDS, record

SIGNER = pki.KeySigner(pki.make_key())
ENDED = CREATED + timedelta(days=90)
ONE, TWO, *_ = RECORDS


class Copy:
    """A copy in a file, loaded and asked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, records: Sequence[DeviceRecord], **changes: Any) -> LoadedManifest:
        octets = manifest(records, SIGNER, **changes)
        found = open_manifest(
            io.BytesIO(octets), {SIGNER_ID: SIGNER.public_key}, owner=OWNER, now=CREATED
        )
        return load_manifest(self.path, found, now=ALIVE)

    def find(
        self, serial_number: str, issuer: bytes | None = None, *, now: datetime = ALIVE
    ) -> tuple[DeviceRecord, ...]:
        with closing(ManifestCopy(self.path)) as copy:
            return copy.find(issuer, serial_number, now=now)

    def status(self, serial_number: str) -> tuple[DeviceStatus, str]:
        (found,) = self.find(serial_number)
        return found.status, found.status_reason


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "acme-manifests.db")


def revoked(of: DeviceRecord, reason: str = "stolen") -> DeviceRecord:
    return replace(of, status=DeviceStatus.REVOKED, status_reason=reason)


def test_what_was_loaded_is_found(copy: Copy) -> None:
    """By serial number alone, and by issuer; nobody else."""
    assert copy.load(RECORDS) == LoadedManifest(outcome=Loaded.LOADED, records=4, marks=1)
    assert copy.find("SN-1") == (ONE,)
    assert copy.find("SN-2") == tuple(RECORDS[2:])
    assert copy.find("SN-2", RECORDS[3].idevid_issuer) == (RECORDS[3],)
    assert copy.find("SN-3") == ()
    assert copy.find("SN-1", bytes(20)) == ()
    assert copy.path.stat().st_mode & 0o777 == 0o600


def test_the_same_file_again_changes_nothing(copy: Copy) -> None:
    copy.load(RECORDS)
    assert copy.load(RECORDS).outcome is Loaded.ALREADY
    assert copy.find("SN-1") == (ONE,)


def test_a_stale_manifest_is_refused(copy: Copy) -> None:
    """A lower generation, or another of the same; the next one up is taken."""
    copy.load([ONE], generation=5)
    with pytest.raises(ManifestRefused, match="is at 5"):
        copy.load([ONE, TWO], generation=4)
    with pytest.raises(ManifestRefused, match="another manifest of generation 5"):
        copy.load([ONE, TWO], generation=5)
    assert copy.find("SN-10") == ()
    copy.load([ONE, TWO], generation=6)
    assert copy.find("SN-10") == (TWO,)


def test_the_next_manifest_is_the_whole_truth_of_its_order(copy: Copy) -> None:
    """What it leaves out is unknown; another order is not touched."""
    copy.load([ONE, TWO])
    copy.load([RECORDS[2]], order="order 8")
    copy.load([TWO], generation=2)
    assert copy.find("SN-1") == ()
    assert copy.find("SN-10") == (TWO,)
    assert copy.find("SN-2") == (RECORDS[2],)


def test_loading_never_clears_a_mark(copy: Copy) -> None:
    """Neither a later manifest that calls the device active, nor one that leaves it out between."""
    copy.load([revoked(ONE)])
    copy.load([TWO], generation=2)
    copy.load([ONE], generation=3)
    assert copy.status("SN-1") == (DeviceStatus.REVOKED, "stolen")
    with closing(connect(copy.path)) as connection:
        for statement in ("DELETE FROM mark", "UPDATE mark SET status = 'flagged'"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
                connection.execute(statement)


def test_a_mark_holds_on_to_the_key(copy: Copy) -> None:
    """Another number for that key is marked, too; another key under that number is not."""
    copy.load([revoked(ONE)])
    copy.load([record("SN-1")], generation=2)
    assert copy.status("SN-1") == (DeviceStatus.ACTIVE, "")


def test_a_superseded_certificate_does_not_mark_its_key(copy: Copy) -> None:
    """A re-issue keeps the key, and stands; the gravest of several marks counts."""
    copy.load([revoked(ONE, SUPERSEDED)])
    assert copy.status("SN-1") == (DeviceStatus.REVOKED, SUPERSEDED)
    with closing(connect(copy.path)) as connection:
        ((digest,),) = connection.execute("SELECT digest FROM mark").fetchall()
        assert digest == hashlib.sha256(ONE.certificate).digest()
    flagged = replace(ONE, status=DeviceStatus.FLAGGED, status_reason="clone-suspected")
    copy.load([flagged], generation=2)
    assert copy.status("SN-1") == (DeviceStatus.REVOKED, SUPERSEDED)
    copy.load([revoked(ONE)], generation=3)
    assert copy.status("SN-1") == (DeviceStatus.REVOKED, "stolen")


def test_of_two_orders_the_later_statement_counts(copy: Copy) -> None:
    newer = replace(ONE, generation=7)
    copy.load([newer], order="order 8", created_at=CREATED + timedelta(hours=1))
    copy.load([ONE])
    assert copy.find("SN-1") == (newer,)


def test_a_bad_record_refuses_the_whole(copy: Copy) -> None:
    """The one before it is not there either."""
    copy.load([TWO])
    with pytest.raises(SerialNumberMismatch):
        copy.load([ONE, replace(TWO, serial_number="SN-11")], generation=2)
    assert copy.find("SN-1") == ()
    assert copy.find("SN-10") == (TWO,)


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE device (name)")
    with pytest.raises(StateError, match="no copy of manifests"):
        ManifestCopy(tmp_path / "other.db")


@pytest.fixture
def clock() -> Clock:
    return Clock(ALIVE)


@pytest.fixture
def source(copy: Copy, clock: Clock) -> Iterator[ManifestSource]:
    opened = ManifestSource(copy.path, clock=clock)
    yield opened
    opened._copy.close()


async def test_a_copy_without_a_living_manifest_says_nothing_of_anybody(
    copy: Copy, source: ManifestSource, clock: Clock
) -> None:
    """Empty or ended: the known and the unknown get the one answer. Alive: they differ."""
    for serial_number in ("SN-1", "SN-3"):
        with pytest.raises(Unavailable):
            await source.find(None, serial_number, spki_sha256=bytes(32))
    copy.load(RECORDS)
    assert await source.find(None, "SN-1", spki_sha256=bytes(32)) == (ONE,)
    assert await source.find(None, "SN-3", spki_sha256=bytes(32)) == ()
    clock.now = ENDED
    for serial_number in ("SN-1", "SN-3"):
        with pytest.raises(Unavailable):
            await source.find(None, serial_number, spki_sha256=bytes(32))


async def test_an_ended_order_beside_a_living_one_is_unknown_and_logged(
    copy: Copy, source: ManifestSource, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once an hour, by the order's name."""
    copy.load([ONE])
    copy.load([TWO], order="order 8", expires_at=ENDED + timedelta(days=9))
    clock.now = ENDED
    for _ in range(3):
        assert await source.find(None, "SN-1", spki_sha256=bytes(32)) == ()
    assert await source.find(None, "SN-10", spki_sha256=bytes(32)) == (TWO,)
    assert [each.orders for each in caplog.records] == [["order 7"]]  # type: ignore[attr-defined]  # what was logged
    clock.forward(hours=1)
    await source.find(None, "SN-1", spki_sha256=bytes(32))
    assert len(caplog.records) == 2
