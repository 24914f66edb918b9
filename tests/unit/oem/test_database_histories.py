"""Whatever is loaded and marked, in whatever order: the promises hold after each step."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from brski.errors import BundleRefused
from brski.idevid.record import DeviceStatus
from oem_backend.database.marks import Verdict, batch_subject
from oem_backend.database.opening import open_reader
from oem_backend.database.schema import open_to_write
from tests.kit import oem, pki

FACTORY = oem.Factory()
KEYS = [pki.make_key() for _ in range(3)]
SERIALS = ("SN-1", "SN-2", "SN-3")
GENERATIONS = (1, 2, 3)
# every chip under every serial number in every generation, as a factory could have made it
MADE = {
    (serial_number, key, generation): FACTORY.make(
        serial_number, key=KEYS[key], created=oem.CREATED + timedelta(days=generation)
    )
    for serial_number in SERIALS
    for key in range(len(KEYS))
    for generation in GENERATIONS
}

DEVICES = st.dictionaries(st.sampled_from(SERIALS), st.integers(0, len(KEYS) - 1), min_size=1)
REPLACED = st.lists(st.sampled_from(sorted(MADE)), max_size=2, unique=True)
LOADS = st.tuples(st.just("load"), st.sampled_from(GENERATIONS), DEVICES, REPLACED, st.booleans())
VERDICTS = st.sampled_from(Verdict)
MARKS = st.tuples(st.just("mark"), st.sampled_from(SERIALS), VERDICTS)
BATCHES = st.tuples(st.just("batch"), st.sampled_from((None, 0, 1)), VERDICTS)
BATCH = FACTORY.origin().batch_digest


def _load(database: Path, step: Sequence[Any]) -> None:
    _, generation, devices, replaced, late = step
    entries = []
    for serial_number, key in devices.items():
        made = MADE[serial_number, key, generation]
        others = [MADE[name] for name in replaced if MADE[name] is not made]
        entries.append(made.listed(*others))
    FACTORY.load_octets(database, FACTORY.bundle(entries, generation=generation), late=late)


def _mark(database: Path, serial_number: str, verdict: Verdict) -> None:
    reader = open_reader(database)
    found = reader.find(None, serial_number)
    reader.close()
    for record in found:
        oem.mark(database, record, verdict, "stolen")


def _rows(database: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


class Seen:
    """What has been true once, and has to stay so."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.generations: dict[str, int] = {}
        self.marks: list[tuple[Any, ...]] = []

    def everything(self) -> list[list[tuple[Any, ...]]]:
        return [
            _rows(self.database, f"SELECT * FROM {table}")  # noqa: S608 - of these names
            for table in ("bundle", "device", "mark", "issuing_chain", "issuing_certificate")
        ]

    def check(self) -> None:
        reader = open_reader(self.database)
        found = [record for name in SERIALS for record in reader.find(None, name)]
        reader.close()
        marks = _rows(self.database, "SELECT * FROM mark ORDER BY number")
        assert marks[: len(self.marks)] == self.marks, "a mark has changed"
        self.marks = marks
        lifted: dict[tuple[Any, ...], bool] = {}
        for row in marks:  # digest, kind, chunk: what was said last
            lifted[row[1:4]] = row[6] == "lifted"
        marked = {subject for subject, is_lifted in lifted.items() if not is_lifted}
        standing = {row[0]: row for row in _rows(self.database, "SELECT * FROM device")}
        active = [record.spki for record in found if record.status is DeviceStatus.ACTIVE]
        assert len(active) == len(set(active)), "one key, two active devices"
        for record in found:
            certificate, key = standing[record.serial_number][3], standing[record.serial_number][5]
            assert record.generation >= self.generations.get(record.serial_number, 0)
            self.generations[record.serial_number] = record.generation
            is_active = record.status is DeviceStatus.ACTIVE
            subjects = {
                (certificate, "certificate", -1),
                (key, "key", -1),
                (BATCH, "batch", -1),
                (BATCH, "chunk", record.chunk),
            }
            assert is_active == marked.isdisjoint(subjects)


@settings(max_examples=80)
@given(st.lists(LOADS | MARKS | BATCHES, max_size=6))
def test_every_history_keeps_the_promises(steps: list[Sequence[Any]]) -> None:
    """Marks stay and count, generations never fall, keys are one device's, refused is undone."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "devices.db"
        open_to_write(database).close()
        seen = Seen(database)
        for step in steps:
            before = seen.everything()
            try:
                if step[0] == "load":
                    _load(database, step)
                elif step[0] == "mark":
                    _mark(database, *step[1:])
                else:
                    _, chunk, verdict = step
                    oem.say(database, batch_subject(BATCH, chunk), verdict, "seed-leak")
            except BundleRefused:
                assert seen.everything() == before
            seen.check()
