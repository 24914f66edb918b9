"""What the factory remembers for ever: batches, chips, fingerprints, certificates. No secret.

One SQLite file. The rules of intake and of build lists are asked as queries here, and said as
refusals in :mod:`oem_backend.factory.intake` and :mod:`oem_backend.factory.build_lists`; what only
a constraint can see (a chip or a seed that comes twice) is refused here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.sqlite import connect, database_error, migrate, transaction
from brski.errors import BatchRefused
from brski.idevid.build_list import BuildEntry, BuildListHeader
from brski.idevid.bundle import Revocation
from brski.idevid.record import Presentation
from brski.seed.batch import BatchHeader
from oem_backend.factory import waiting
from oem_backend.factory.looks import look_of
from oem_backend.factory.work import SeenChip

_SCHEMA: Final = (
    """
    CREATE TABLE batch (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        predecessor BLOB,
        vendor_id TEXT NOT NULL,
        product TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        batch_id TEXT NOT NULL,
        profile TEXT NOT NULL,
        records INTEGER NOT NULL,
        UNIQUE (vendor_id, product, sequence)
    );
    CREATE TABLE chip (
        chip_id BLOB NOT NULL UNIQUE,
        fingerprint BLOB NOT NULL UNIQUE,
        batch INTEGER NOT NULL REFERENCES batch (number),
        chunk INTEGER NOT NULL
    );

    CREATE TABLE build_list (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        product TEXT NOT NULL,
        generation INTEGER NOT NULL,
        created INTEGER NOT NULL,
        terms BLOB NOT NULL,
        finished INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX finished_generation ON build_list (product, generation) WHERE finished;
    CREATE TABLE bundle (
        build_list INTEGER NOT NULL REFERENCES build_list (number),
        batch INTEGER NOT NULL REFERENCES batch (number),
        digest BLOB NOT NULL,
        file_sha256 BLOB NOT NULL,
        records INTEGER NOT NULL,
        PRIMARY KEY (build_list, batch)
    );

    -- lists at work, in the order of their serial numbers; empty when nothing is at work
    CREATE TABLE entry (
        place INTEGER PRIMARY KEY,
        build_list INTEGER NOT NULL REFERENCES build_list (number),
        serial_number TEXT NOT NULL,
        chip_id BLOB NOT NULL,
        presentation TEXT NOT NULL,
        replaces INTEGER NOT NULL,
        batch INTEGER REFERENCES batch (number),
        chunk INTEGER,
        UNIQUE (build_list, serial_number)
    );
    CREATE INDEX entry_of_chunk ON entry (build_list, batch, chunk);
    CREATE TABLE made (
        place INTEGER PRIMARY KEY REFERENCES entry (place) ON DELETE CASCADE,
        certificate BLOB NOT NULL,
        sha256 BLOB NOT NULL
    );

    CREATE TABLE certificate (
        sha256 BLOB NOT NULL UNIQUE,
        idevid_issuer BLOB NOT NULL,
        serial_number TEXT NOT NULL,
        chip_id BLOB NOT NULL,
        build_list INTEGER NOT NULL REFERENCES build_list (number),
        ended_by INTEGER REFERENCES build_list (number)
    );
    CREATE INDEX certificate_of_chip ON certificate (chip_id);
    CREATE INDEX certificate_of_number ON certificate (serial_number, idevid_issuer);
    CREATE UNIQUE INDEX one_for_a_chip ON certificate (chip_id) WHERE ended_by IS NULL;
    CREATE UNIQUE INDEX one_for_a_number ON certificate (serial_number, idevid_issuer)
        WHERE ended_by IS NULL;
    """,
    waiting.SCHEMA,
    f"""
    CREATE INDEX certificate_by_look ON certificate ({look_of("serial_number")}, idevid_issuer)
        WHERE ended_by IS NULL;
    CREATE INDEX waiting_by_look ON waiting ({look_of("serial_number")});
    """,
)

_ENTER_ENTRY: Final = """
INSERT INTO entry (build_list, serial_number, chip_id, presentation, replaces, batch, chunk)
SELECT ?1, ?2, ?3, ?4, ?5, chip.batch, chip.chunk
FROM (SELECT 1) LEFT JOIN chip ON chip.chip_id = ?3
"""
# Places in a vendor's sequence before the last batch that came, where none has come yet.
_MISSING_BATCHES: Final = """
SELECT vendor_id, product, before + 1, sequence - 1
FROM (
    SELECT vendor_id, product, sequence, lag(sequence, 1, 0) OVER (
        PARTITION BY vendor_id, product ORDER BY sequence
    ) AS before
    FROM batch
)
WHERE sequence > before + 1 ORDER BY vendor_id, product, sequence
"""
_BATCH_COLUMNS: Final = "number, digest, predecessor, vendor_id, product, sequence, profile"
# Where an entry of a list at work runs into a certificate. CROSS: SQLite keeps to this order.
_KNOWN: Final = """
SELECT entry.chip_id, entry.serial_number, certificate.chip_id, certificate.serial_number,
    build_list.created
FROM entry CROSS JOIN certificate
JOIN build_list ON build_list.number = certificate.build_list
WHERE entry.build_list = :list AND {condition}
ORDER BY entry.place, certificate.rowid DESC LIMIT 1
"""
_ALIKE: Final = f"""
SELECT min(serial_number), max(serial_number) FROM entry WHERE build_list = ?
GROUP BY {look_of("serial_number")} HAVING count(*) > 1 ORDER BY min(place) LIMIT 1
"""  # noqa: S608 - of this module's constants
# What the replace entries of a list at work end: what their chip has, and what their number has.
_REPLACED: Final = """
SELECT entry.place AS place, certificate.rowid AS ended
FROM entry JOIN certificate ON certificate.chip_id = entry.chip_id
WHERE entry.build_list = :list AND entry.replaces AND certificate.ended_by IS NULL
UNION
SELECT entry.place, certificate.rowid
FROM entry JOIN certificate ON certificate.serial_number = entry.serial_number
    AND certificate.idevid_issuer = :issuer
WHERE entry.build_list = :list AND entry.replaces AND certificate.ended_by IS NULL
"""
_REVOCATIONS: Final = f"""
SELECT replaced.place, idevid_issuer, serial_number, sha256
FROM ({_REPLACED}) AS replaced JOIN certificate ON certificate.rowid = replaced.ended
ORDER BY replaced.place, idevid_issuer, serial_number, sha256
"""  # noqa: S608 - of this module's constants
_END_REPLACED: Final = f"""
UPDATE certificate SET ended_by = :list WHERE rowid IN (SELECT ended FROM ({_REPLACED}))
"""  # noqa: S608 - of this module's constants
# CROSS: SQLite keeps to this order, and takes the index.
_ALIKE_IN_USE: Final = f"""
SELECT entry.serial_number, certificate.serial_number
FROM entry CROSS JOIN certificate
    ON {look_of("certificate.serial_number")} = {look_of("entry.serial_number")}
    AND certificate.idevid_issuer = :issuer
WHERE EXISTS (SELECT 1 FROM certificate)  -- seen once, before a million entries
    AND entry.build_list = :list AND certificate.ended_by IS NULL
    AND certificate.serial_number <> entry.serial_number
    AND certificate.rowid NOT IN (SELECT ended FROM ({_REPLACED}))
ORDER BY entry.place LIMIT 1
"""  # noqa: S608 - of this module's constants
_ENTER_CERTIFICATES: Final = """
INSERT INTO certificate (sha256, idevid_issuer, serial_number, chip_id, build_list)
SELECT made.sha256, :issuer, entry.serial_number, entry.chip_id, :list
FROM entry JOIN made USING (place) WHERE entry.build_list = :list
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBatch:
    """A batch that has been taken in."""

    number: int  # in this ledger
    digest: bytes
    predecessor: bytes | None
    vendor_id: str
    product: str
    sequence: int
    profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownList:
    """A build list that has been begun."""

    number: int  # in this ledger
    terms: bytes  # SHA-256 of what of the settings is in its certificates and bundles
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCertificate:
    """A certificate that was given out, and the entry at work that runs into it."""

    chip_id: bytes  # of the entry
    serial_number: str  # of the entry
    certified_chip_id: bytes
    certified_as: str
    created: int  # seconds since 1970: the notBefore of the certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedKey:
    """One chip whose key a worker is to derive."""

    place: int  # of its entry
    chip_id: bytes
    serial_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One entry with its certificate."""

    place: int
    serial_number: str
    presentation: Presentation
    chunk: int
    certificate: bytes  # DER


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBundle:
    """A bundle in the store."""

    batch_digest: bytes
    digest: bytes
    file_sha256: bytes
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedChip:
    """A chip with its certificate: where it came from, and in which bundle it went out."""

    serial_number: str
    chip_id: bytes
    batch_digest: bytes
    chunk: int
    build_list_digest: bytes


class Ledger:
    """The open ledger; from :func:`open_ledger`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @property
    def waiting(self) -> waiting.Waiting:
        """What is on record of devices that are certified on demand."""
        return waiting.Waiting(self._db)

    def writing(self) -> AbstractContextManager[object]:
        """A block whose changes are all on record after it, or none of them."""
        return transaction(self._db)

    # -- batches

    def batch(self, digest: bytes) -> TakenBatch | None:
        """The batch with this digest, if it was taken in."""
        return next(self._batches("digest = ?", digest), None)

    def batch_at(self, vendor_id: str, product: str, sequence: int) -> TakenBatch | None:
        """The batch that took this place in a vendor's sequence."""
        where = "vendor_id = ? AND product = ? AND sequence = ?"
        return next(self._batches(where, vendor_id, product, sequence), None)

    def _batches(self, where: str, *values: object) -> Iterator[TakenBatch]:
        query = f"SELECT {_BATCH_COLUMNS} FROM batch WHERE {where} ORDER BY number"  # noqa: S608
        rows = self._db.execute(query, values)  # our own words, their values
        for number, digest, predecessor, vendor_id, product, sequence, derivation in rows:
            yield TakenBatch(
                number=number,
                digest=digest,
                predecessor=predecessor,
                vendor_id=vendor_id,
                product=product,
                sequence=sequence,
                profile=derivation,
            )

    def take_in(
        self, digest: bytes, header: BatchHeader, chunks: Iterable[Sequence[SeenChip]]
    ) -> None:
        """Enter a batch with all that *chunks* brings, in one transaction.

        Args:
            chunks: of the batch, in order; taken one by one, so that they may still be at work.

        Raises:
            BatchRefused: a chip id or a seed that was there before, in whichever batch.
            Whatever *chunks* raises. Nothing is entered then.
        """
        with self.writing():
            row = self._db.execute(
                "INSERT INTO batch (digest, predecessor, vendor_id, product, sequence, batch_id, "
                "profile, records) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
                (
                    *(digest, header.predecessor, header.vendor_id, header.product),
                    *(header.sequence, header.batch_id, header.derivation_profile),
                    header.record_count,
                ),
            ).fetchone()
            for index, chips in enumerate(chunks):
                self._enter_chips(row[0], index, chips)

    def _enter_chips(self, batch: int, chunk: int, chips: Sequence[SeenChip]) -> None:
        try:
            self._db.executemany(
                "INSERT INTO chip (chip_id, fingerprint, batch, chunk) VALUES (?, ?, ?, ?)",
                ((chip.chip_id, chip.fingerprint, batch, chunk) for chip in chips),
            )
        except sqlite3.IntegrityError as err:
            raise BatchRefused(self._twice(batch, chunk, chips)) from err

    def _twice(self, batch: int, chunk: int, chips: Sequence[SeenChip]) -> str:
        """Say which of *chips* was there before, and where."""
        query = (
            "SELECT chip_id, chunk, number, vendor_id, product, sequence "
            "FROM chip JOIN batch ON batch.number = chip.batch "
            "WHERE (chip_id = ? OR fingerprint = ?) AND NOT (chip.batch = ? AND chunk = ?)"
        )
        for chip in chips:
            row = self._db.execute(query, (chip.chip_id, chip.fingerprint, batch, chunk)).fetchone()
            if row is None:
                continue
            held_by, at, number, vendor_id, product, sequence = row
            where = "this batch" if number == batch else f"batch {vendor_id}/{product}/{sequence}"
            if held_by == chip.chip_id:
                return f"chip {chip.chip_id.hex()} is in chunk {at} of {where} already"
            return (
                f"chip {chip.chip_id.hex()} has the seed of chip {held_by.hex()}, "
                f"which is in chunk {at} of {where}"
            )
        return f"chunk {chunk} has a chip or a seed twice"

    def is_certified_whole(self, digest: bytes) -> bool:
        """Whether every chip of a batch has had a certificate."""
        row = self._db.execute(
            "SELECT 1 FROM chip JOIN batch ON batch.number = chip.batch WHERE digest = ? "
            "AND NOT EXISTS (SELECT 1 FROM certificate WHERE certificate.chip_id = chip.chip_id) "
            "LIMIT 1",
            (digest,),
        ).fetchone()
        return row is None

    # -- build lists, up to work

    def build_list(self, digest: bytes) -> KnownList | None:
        """The list with this digest, if it was begun."""
        row = self._db.execute(
            "SELECT number, terms, finished FROM build_list WHERE digest = ?", (digest,)
        ).fetchone()
        if row is None:
            return None
        return KnownList(number=row[0], terms=row[1], finished=bool(row[2]))

    def finished_generation(self, product: str) -> int | None:
        """The highest generation of a product that was finished; None before the first."""
        row = self._db.execute(
            "SELECT max(generation) FROM build_list WHERE product = ? AND finished", (product,)
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def begin_list(
        self, digest: bytes, header: BuildListHeader, terms: bytes, entries: Iterable[BuildEntry]
    ) -> int:
        """Put a list on record as begun, with its entries; within :meth:`writing`.

        Args:
            entries: in the order of their serial numbers.

        Returns:
            Its number in this ledger.
        """
        row = self._db.execute(
            "INSERT INTO build_list (digest, product, generation, created, terms) "
            "VALUES (?, ?, ?, ?, ?) RETURNING number",
            (
                *(digest, header.product, header.generation),
                *(int(header.created_at.timestamp()), terms),
            ),
        ).fetchone()
        number = int(row[0])
        self._db.executemany(
            _ENTER_ENTRY,
            (
                (number, entry.serial_number, entry.chip_id, entry.presentation, entry.replace)
                for entry in entries
            ),
        )
        return number

    def drop_list(self, number: int) -> None:
        """Forget a list that was begun and not finished, and what was made for it."""
        with self.writing():
            self._db.execute("DELETE FROM entry WHERE build_list = ?", (number,))
            self._db.execute("DELETE FROM build_list WHERE number = ?", (number,))

    def is_certified_in_part(self, number: int) -> bool:
        """Whether certificates of a list at work have been made."""
        row = self._db.execute(
            "SELECT 1 FROM entry JOIN made USING (place) WHERE build_list = ? LIMIT 1", (number,)
        ).fetchone()
        return row is not None

    def entry_of_no_batch(self, number: int) -> tuple[bytes, str] | None:
        """Chip id and serial number of the first entry whose chip no batch has brought."""
        row = self._db.execute(
            "SELECT chip_id, serial_number FROM entry WHERE build_list = ? AND batch IS NULL "
            "ORDER BY place",
            (number,),
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def certified_chip(self, number: int) -> KnownCertificate | None:
        """The first entry without ``replace`` whose chip was certified before."""
        condition = "certificate.chip_id = entry.chip_id AND NOT entry.replaces"
        return self._known(condition, list=number)

    def certified_number(self, number: int, idevid_issuer: bytes) -> KnownCertificate | None:
        """The first entry without ``replace`` whose serial number the issuer gave before."""
        return self._known(
            "certificate.serial_number = entry.serial_number "
            "AND certificate.idevid_issuer = :issuer AND NOT entry.replaces",
            list=number,
            issuer=idevid_issuer,
        )

    def alike(self, number: int) -> tuple[str, str] | None:
        """Two serial numbers of a list at work that a person could take for one another."""
        row = self._db.execute(_ALIKE, (number,)).fetchone()
        return None if row is None else (row[0], row[1])

    def alike_in_use(self, number: int, idevid_issuer: bytes) -> tuple[str, str] | None:
        """A serial number of a list at work, and one that looks like it, is in use under the
        issuer, and is not ended by this list.
        """
        names = {"list": number, "issuer": idevid_issuer}
        row = self._db.execute(_ALIKE_IN_USE, names).fetchone()
        return None if row is None else (row[0], row[1])

    def not_later(self, number: int, idevid_issuer: bytes, created: int) -> KnownCertificate | None:
        """The first entry whose chip and serial number have a certificate of *created* or later."""
        return self._known(
            "certificate.chip_id = entry.chip_id "
            "AND certificate.serial_number = entry.serial_number "
            "AND certificate.idevid_issuer = :issuer AND build_list.created >= :created",
            list=number,
            issuer=idevid_issuer,
            created=created,
        )

    def _known(self, condition: str, **values: object) -> KnownCertificate | None:
        row = self._db.execute(_KNOWN.format(condition=condition), values).fetchone()
        if row is None:
            return None
        chip_id, serial_number, certified_chip_id, certified_as, created = row
        return KnownCertificate(
            chip_id=chip_id,
            serial_number=serial_number,
            certified_chip_id=certified_chip_id,
            certified_as=certified_as,
            created=created,
        )

    # -- build lists at work

    def batches_of(self, number: int) -> tuple[TakenBatch, ...]:
        """The batches that the chips of a list at work came in, in the order of their intake."""
        where = "number IN (SELECT batch FROM entry WHERE build_list = ?)"
        return tuple(self._batches(where, number))

    def chunks_of(self, number: int) -> tuple[tuple[int, int, bool], ...]:
        """Each chunk that a list at work draws on: batch, index, and whether it is done."""
        rows = self._db.execute(
            "SELECT batch, chunk, count(made.place) = count(*) FROM entry LEFT JOIN made "
            "USING (place) WHERE build_list = ? GROUP BY batch, chunk ORDER BY batch, chunk",
            (number,),
        )
        return tuple((batch, chunk, bool(done)) for batch, chunk, done in rows)

    def wanted_keys(self, number: int, batch: int, chunk: int) -> tuple[WantedKey, ...]:
        """The entries of a list at work whose chips came in this chunk."""
        rows = self._db.execute(
            "SELECT place, chip_id, serial_number FROM entry "
            "WHERE build_list = ? AND batch = ? AND chunk = ? ORDER BY place",
            (number, batch, chunk),
        )
        return tuple(
            WantedKey(place=place, chip_id=chip_id, serial_number=serial_number)
            for place, chip_id, serial_number in rows
        )

    def keep_chunk(self, made: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Put the certificates of a chunk on record, all or none: place, DER, SHA-256 of it."""
        with self.writing():
            self._db.executemany(
                "INSERT INTO made (place, certificate, sha256) VALUES (?, ?, ?)", made
            )

    def made(self, number: int, batch: int) -> Iterator[Made]:
        """What was made for a list at work out of one batch, in the order of serial numbers."""
        rows = self._db.execute(
            "SELECT place, serial_number, presentation, chunk, certificate "
            "FROM entry JOIN made USING (place) WHERE +build_list = ? AND +batch = ? "
            "ORDER BY place",  # + keeps it from a detour by an index: lists at work are few
            (number, batch),
        )
        for place, serial_number, presentation, chunk, certificate in rows:
            yield Made(
                place=place,
                serial_number=serial_number,
                presentation=Presentation(presentation),
                chunk=chunk,
                certificate=certificate,
            )

    def revocations(self, number: int, idevid_issuer: bytes) -> Iterator[tuple[int, Revocation]]:
        """What the ``replace`` entries of a list at work end, by place."""
        rows = self._db.execute(_REVOCATIONS, {"list": number, "issuer": idevid_issuer})
        for place, issuer, serial_number, sha256 in rows:
            yield (
                place,
                Revocation(
                    idevid_issuer=issuer, serial_number=serial_number, certificate_sha256=sha256
                ),
            )

    def finish_list(
        self, number: int, idevid_issuer: bytes, bundles: Iterable[tuple[int, KeptBundle]]
    ) -> None:
        """Enter what was made as given out, end what it replaces, all in one transaction.

        Args:
            bundles: each with the number of its batch.

        Raises:
            sqlite3.IntegrityError: what the checks before should have refused; :func:`open_ledger`
                makes a StateError of it.
        """
        names = {"list": number, "issuer": idevid_issuer}
        with self.writing():
            self.waiting.forget_replaced(number)
            self._db.execute(_END_REPLACED, names)
            self._db.execute(_ENTER_CERTIFICATES, names)
            self._db.executemany(
                "INSERT INTO bundle (build_list, batch, digest, file_sha256, records) "
                "VALUES (?, ?, ?, ?, ?)",
                (
                    (number, batch, kept.digest, kept.file_sha256, kept.records)
                    for batch, kept in bundles
                ),
            )
            self._db.execute("UPDATE build_list SET finished = 1 WHERE number = ?", (number,))
            self._db.execute("DELETE FROM entry WHERE build_list = ?", (number,))

    def bundles_of(self, number: int) -> tuple[KeptBundle, ...]:
        """The bundles of a list that was finished."""
        rows = self._db.execute(
            "SELECT batch.digest, bundle.digest, file_sha256, bundle.records FROM bundle "
            "JOIN batch ON batch.number = bundle.batch WHERE build_list = ? ORDER BY batch.number",
            (number,),
        )
        return tuple(
            KeptBundle(batch_digest=batch, digest=digest, file_sha256=sha256, records=records)
            for batch, digest, sha256, records in rows
        )

    # -- what was given out

    def certified_chips(self, serial_numbers: Iterable[str]) -> tuple[CertifiedChip, ...]:
        """The chips that have a certificate under one of these numbers now, of any issuer."""
        return tuple(
            CertifiedChip(
                serial_number=serial_number,
                chip_id=chip_id,
                batch_digest=batch,
                chunk=chunk,
                build_list_digest=build_list,
            )
            for serial_number in serial_numbers
            for chip_id, batch, chunk, build_list in self._db.execute(
                "SELECT chip_id, batch.digest, chip.chunk, build_list.digest FROM certificate "
                "JOIN chip USING (chip_id) JOIN batch ON batch.number = chip.batch "
                "JOIN build_list ON build_list.number = certificate.build_list "
                "WHERE serial_number = ? AND ended_by IS NULL ORDER BY idevid_issuer",
                (serial_number,),
            )
        )

    def serial_number_of(self, chip_id: bytes) -> str | None:
        """The serial number that a chip is certified under now."""
        row = self._db.execute(
            "SELECT serial_number FROM certificate WHERE chip_id = ? AND ended_by IS NULL",
            (chip_id,),
        ).fetchone()
        return None if row is None else str(row[0])

    # -- chips and numbers

    def place_of_chip(self, chip_id: bytes) -> tuple[bytes, int] | None:
        """Digest of the batch, and chunk, that a chip came in."""
        row = self._db.execute(
            "SELECT batch.digest, chip.chunk FROM chip JOIN batch ON batch.number = chip.batch "
            "WHERE chip_id = ?",
            (chip_id,),
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def chips_of_number(self, serial_number: str) -> tuple[tuple[bytes, bytes], ...]:
        """Issuer and chip of every standing certificate for a serial number."""
        rows = self._db.execute(
            "SELECT idevid_issuer, chip_id FROM certificate "
            "WHERE serial_number = ? AND ended_by IS NULL ORDER BY idevid_issuer",
            (serial_number,),
        )
        return tuple((issuer, chip_id) for issuer, chip_id in rows)

    # -- for the operator

    def summary(self) -> dict[str, object]:
        """How much is on record, and how far each vendor and product has come."""
        return {
            "chips": self._count("chip"),
            "certificates": self._count("certificate WHERE ended_by IS NULL"),
            "replaced_certificates": self._count("certificate WHERE ended_by IS NOT NULL"),
            **self.waiting.summary(),
            "batches": [
                dict(zip(("vendor", "product", "batches", "last_sequence"), row, strict=True))
                for row in self._db.execute(
                    "SELECT vendor_id, product, count(*), max(sequence) FROM batch "
                    "GROUP BY vendor_id, product ORDER BY vendor_id, product"
                )
            ],
            "missing_batches": [
                dict(zip(("vendor", "product", "first", "last"), row, strict=True))
                for row in self._db.execute(_MISSING_BATCHES)
            ],
            "build_lists": [
                dict(zip(("product", "build_lists", "last_generation"), row, strict=True))
                for row in self._db.execute(
                    "SELECT product, count(*), max(generation) FROM build_list WHERE finished "
                    "GROUP BY product ORDER BY product"
                )
            ],
            "unfinished": [
                dict(zip(("build_list", "product", "generation"), row, strict=True))
                for row in self._db.execute(
                    "SELECT lower(hex(digest)), product, generation FROM build_list "
                    "WHERE NOT finished ORDER BY number"
                )
            ],
        }

    def _count(self, what: str) -> int:
        row = self._db.execute(f"SELECT count(*) FROM {what}").fetchone()  # noqa: S608 - our own
        return int(row[0])


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """The ledger at *path*, made when missing.

    Raises:
        StateError: the file is something else, or damaged, which may show later, too.
        Unavailable: locked or a failing disk.
    """
    with _translated(path), closing(connect(path)) as connection:
        migrate(connection, _SCHEMA)
        yield Ledger(connection)


@contextmanager
def look_into_ledger(path: Path) -> Iterator[Ledger]:
    """The ledger at *path* to be read, also while another process writes to it.

    Raises:
        StateError: there is none, the file is something else, or damaged.
        Unavailable: a failing disk.
    """
    with _translated(path), closing(connect(path, read_only=True)) as connection:
        yield Ledger(connection)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        raise database_error(err, path) from err
