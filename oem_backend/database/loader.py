"""Loads the factory's bundles: each whole, or not at all (docs/oem-database.md, sections 3 and 4).

Everything that takes time happens before the database is locked: the certificates are judged one by
one on their way into temporary tables, and one short transaction brings them in.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final

from cryptography import x509

from brski.edge.sqlite import database_error, transaction
from brski.errors import BundleRefused, ChainInvalid, SignatureInvalid
from brski.idevid.bundle import Bundle, BundleOrigin, open_bundle
from brski.idevid.record import SUPERSEDED, DeviceRecord
from brski.idevid.shape import Shapes, SignedParts
from brski.pki import keys, signatures
from brski.pki.chain import TrustAnchors
from brski.pki.signer import PublicKey
from oem_backend.database.schema import empty_log, open_to_write

_GROUP: Final = 1000  # records between two reports of progress

_STAGED: Final = (
    """
    CREATE TEMPORARY TABLE staged (
        serial_number TEXT NOT NULL PRIMARY KEY,
        certificate BLOB NOT NULL,
        certificate_sha256 BLOB NOT NULL,
        spki BLOB NOT NULL,
        spki_sha256 BLOB NOT NULL UNIQUE,
        presentation TEXT NOT NULL,
        chunk INTEGER NOT NULL,
        superseded INTEGER NOT NULL
    )
    """,
    """
    CREATE TEMPORARY TABLE staged_revocation (
        idevid_issuer BLOB NOT NULL,
        serial_number TEXT NOT NULL,
        certificate_sha256 BLOB NOT NULL
    )
    """,
)
_STAGE: Final = "INSERT INTO staged VALUES (?, ?, ?, ?, ?, ?, ?, 0)"

# What stands in the database under a staged record's pair, with the bundle that it came in.
_STANDING: Final = """
FROM staged
JOIN device ON device.serial_number = staged.serial_number AND device.idevid_issuer = :issuer
JOIN bundle ON bundle.number = device.bundle
"""
_OF_ANOTHER_PRODUCT: Final = f"""
SELECT device.serial_number, bundle.product {_STANDING}
WHERE bundle.product <> :product LIMIT 1
"""
_ANOTHER_OF_THIS_GENERATION: Final = f"""
SELECT device.serial_number {_STANDING}
WHERE bundle.generation = :generation
    AND (device.certificate_sha256 <> staged.certificate_sha256
        OR device.presentation <> staged.presentation)
LIMIT 1
"""
_DROP_STAGED: Final = f"""
DELETE FROM staged WHERE serial_number IN (
    SELECT staged.serial_number {_STANDING} WHERE bundle.generation {{than}} :generation
)
"""  # noqa: S608 - of this module's constants
_DROP_UNCHANGED: Final = _DROP_STAGED.format(than="=")
_DROP_OLDER: Final = _DROP_STAGED.format(than=">")
_REMOVE_REPLACED: Final = """
DELETE FROM device WHERE (serial_number, idevid_issuer) IN (
    SELECT serial_number, :issuer FROM staged
)
"""
_MARK_REVOKED: Final = """
INSERT INTO mark (digest, kind, chunk, idevid_issuer, serial_number, verdict, reason, marked_by,
    bundle, marked_at)
SELECT DISTINCT certificate_sha256, 'certificate', -1, idevid_issuer, serial_number, 'revoked',
    :reason, '', :bundle, :now
FROM staged_revocation WHERE true
ON CONFLICT DO NOTHING
"""
_SUPERSEDE_STANDING: Final = """
UPDATE device SET superseded = 1
WHERE superseded = 0
    AND (serial_number, idevid_issuer, certificate_sha256) IN (
        SELECT serial_number, idevid_issuer, certificate_sha256 FROM staged_revocation
    )
"""
_SUPERSEDE_STAGED: Final = """
UPDATE staged SET superseded = 1
WHERE certificate_sha256 IN (SELECT digest FROM mark WHERE kind = 'certificate')
"""
_KEY_UNDER_ANOTHER: Final = """
SELECT staged.serial_number, device.serial_number, device.idevid_issuer
FROM staged
JOIN device ON device.spki_sha256 = staged.spki_sha256 AND device.superseded = 0
WHERE staged.superseded = 0
LIMIT 1
"""
_INSERT: Final = """
INSERT INTO device (serial_number, idevid_issuer, certificate, certificate_sha256, spki,
    spki_sha256, presentation, chunk, bundle, superseded)
SELECT serial_number, :issuer, certificate, certificate_sha256, spki, spki_sha256, presentation,
    chunk, :bundle, superseded
FROM staged ORDER BY serial_number
"""


class Outcome(StrEnum):
    """What became of a bundle that was not refused."""

    LOADED = "loaded"
    ALREADY_LOADED = "already-loaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What a load has done. Of a bundle that was loaded before: nothing, so the counts are 0."""

    outcome: Outcome
    bundle_digest: bytes
    factory: str
    product: str
    generation: int
    records: int  # in the bundle
    added: int = 0  # devices that were not known
    replaced: int = 0  # devices whose certificate came from a lower generation
    unchanged: int = 0  # the same record, from another bundle of this generation
    passed_over: int = 0  # a late bundle's: something newer stands
    revoked: int = 0  # certificates that became revoked


def load_bundle(
    database: Path,
    file: BinaryIO,
    factories: Mapping[str, PublicKey],
    *,
    now: datetime,
    late: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LoadReport:
    """Bring a bundle's records and revocations into an OEM database.

    Args:
        database: made when missing, mode 0600.
        file: seekable; read from where it stands to its end, several times.
        factories: whose bundles are taken: factory id to public key.
        now: aware; remembered as the time of loading, judged by nothing.
        late: take a bundle of a lower generation for what nothing newer speaks of.
        progress: called now and then with the records judged so far and those there are.

    Raises:
        BundleRefused: see :func:`brski.idevid.bundle.open_bundle`; a lower generation without
            *late*; a record that contradicts another of its generation or product; a key that is
            another device's, or comes twice.
        UnknownFormat, Malformed, TooLarge, SignatureInvalid: see there.
        ChainInvalid: a certificate is not one that the bundle's root leads to.
        SerialNumberMismatch, IDevIDIssuerMismatch, KeyNotAllowed: see
            :meth:`brski.idevid.bundle.Bundle.records`.
        Unavailable: locked, full or failing disk.
        StateError, FileUnusable: *database* is not one, or cannot be opened.

    Whatever is raised, nothing has changed.

    docs/oem-database.md.
    """
    bundle = open_bundle(file, factories)
    with closing(open_to_write(database)) as connection:
        if _is_loaded(connection, bundle):
            return _report(bundle, Outcome.ALREADY_LOADED)
        _judge_generation(connection, bundle.header.origin, late=late)
        with _translated(database):
            _stage(connection, bundle, progress)
        with transaction(connection):
            if _is_loaded(connection, bundle):  # by another process, meanwhile
                return _report(bundle, Outcome.ALREADY_LOADED)
            _judge_generation(connection, bundle.header.origin, late=late)
            report = _merge(connection, bundle, now)
        empty_log(connection)
    return report


def _report(bundle: Bundle, outcome: Outcome, **counts: int) -> LoadReport:
    origin = bundle.header.origin
    return LoadReport(
        outcome=outcome,
        bundle_digest=bundle.digest,
        factory=origin.factory_id,
        product=origin.product,
        generation=origin.generation,
        records=bundle.header.record_count,
        **counts,
    )


def _is_loaded(connection: sqlite3.Connection, bundle: Bundle) -> bool:
    found = connection.execute("SELECT 1 FROM bundle WHERE digest = ?", (bundle.digest,))
    return found.fetchone() is not None


def _judge_generation(connection: sqlite3.Connection, origin: BundleOrigin, *, late: bool) -> None:
    (highest,) = connection.execute(
        "SELECT max(generation) FROM bundle WHERE product = ?", (origin.product,)
    ).fetchone()
    if highest is not None and origin.generation < highest and not late:
        raise BundleRefused(
            f"bundle of generation {origin.generation}, product {origin.product!r} is at {highest}",
            hint="--late adds the devices that nothing newer speaks of",
        )


# -- staging: what has been judged, unseen by others


def _stage(
    connection: sqlite3.Connection, bundle: Bundle, progress: Callable[[int, int], None] | None
) -> None:
    for statement in _STAGED:
        connection.execute(statement)
    connection.execute("BEGIN")  # of the temporary tables alone: it locks nobody out
    connection.executemany(
        "INSERT INTO staged_revocation VALUES (?, ?, ?)",
        (
            (entry.idevid_issuer, entry.serial_number, entry.certificate_sha256)
            for entry in bundle.revocations()
        ),
    )
    at = _Position()
    try:
        connection.executemany(_STAGE, map(_staged, _judged(bundle, at, progress)))
    except sqlite3.IntegrityError as err:
        raise BundleRefused(f"record {at.number}, {at.serial_number}: its key comes twice") from err
    connection.execute("COMMIT")


@dataclass(slots=True)
class _Position:
    number: int = 0
    serial_number: str = ""


def _staged(record: DeviceRecord) -> tuple[object, ...]:
    return (
        record.serial_number,
        record.certificate,
        hashlib.sha256(record.certificate).digest(),
        record.spki,
        hashlib.sha256(record.spki).digest(),
        record.presentation.value,
        record.chunk,
    )


def _judged(
    bundle: Bundle, at: _Position, progress: Callable[[int, int], None] | None
) -> Iterator[DeviceRecord]:
    """Every record, once its certificate has been found to lead to the bundle's root."""
    judge = _Judge(bundle)
    total = bundle.header.record_count
    for count, record in enumerate(bundle.records(), start=1):
        at.number, at.serial_number = count - 1, record.serial_number
        try:
            judge.check(record)
        except ChainInvalid as err:
            raise ChainInvalid(
                f"record {at.number}, {record.serial_number}: {err.reason}", section=err.section
            ) from err
        yield record
        if progress is not None and (count % _GROUP == 0 or count == total):
            progress(count, total)


class _Judge:
    """Whether a bundle's certificates lead to its root.

    The first one shows that the CAs above may issue at all, and the first of each shape that such a
    certificate may be issued; what differs from those in its values alone needs a good signature.
    """

    def __init__(self, bundle: Bundle) -> None:
        chain = [keys.parse_certificate(octets) for octets in bundle.header.origin.issuing_chain]
        self._issuing_key = keys.public_key_of_certificate(chain[0])
        self._anchors, self._intermediates = TrustAnchors(chain[-1:]), chain[:-1]
        self._issuing = TrustAnchors(chain[:1])
        self._shapes = Shapes()

    def check(self, record: DeviceRecord) -> None:
        """Raise unless the record's certificate leads to the root.

        Raises:
            ChainInvalid: it does not.
        """
        parts = self._shapes.fit(record.certificate, record.serial_number)
        if parts is not None:
            self._check_signature(parts)
            return
        certificate = x509.load_der_x509_certificate(record.certificate)  # parsed before, strictly
        self._anchors.validate_without_clock(certificate, self._intermediates)
        self._anchors, self._intermediates = self._issuing, []
        self._shapes.learn(record.certificate, record.serial_number)

    def _check_signature(self, parts: SignedParts) -> None:
        try:
            signatures.verify(self._issuing_key, parts.signature, parts.tbs, what="certificate")
        except SignatureInvalid as err:
            raise ChainInvalid(
                "its certificate is not issued by the bundle's issuing CA",
                section="RFC 5280 §6.1.3",
            ) from err


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        raise database_error(err, path) from err


# -- merging: inside the one transaction


def _merge(connection: sqlite3.Connection, bundle: Bundle, now: datetime) -> LoadReport:
    origin = bundle.header.origin
    facts: dict[str, Any] = {
        "issuer": bundle.idevid_issuer,
        "product": origin.product,
        "generation": origin.generation,
        "reason": SUPERSEDED,
        "now": int(now.timestamp()),
    }
    facts["bundle"] = _add_bundle(connection, bundle, facts["now"])
    revoked = connection.execute(_MARK_REVOKED, facts).rowcount
    connection.execute(_SUPERSEDE_STANDING)
    connection.execute(_SUPERSEDE_STAGED)
    _refuse_contradictions(connection, facts)
    unchanged = connection.execute(_DROP_UNCHANGED, facts).rowcount
    passed_over = connection.execute(_DROP_OLDER, facts).rowcount
    replaced = connection.execute(_REMOVE_REPLACED, facts).rowcount
    _refuse_shared_key(connection)
    inserted = connection.execute(_INSERT, facts).rowcount
    return _report(
        bundle,
        Outcome.LOADED,
        added=inserted - replaced,
        replaced=replaced,
        unchanged=unchanged,
        passed_over=passed_over,
        revoked=revoked,
    )


def _refuse_contradictions(connection: sqlite3.Connection, facts: Mapping[str, Any]) -> None:
    if found := connection.execute(_OF_ANOTHER_PRODUCT, facts).fetchone():
        serial_number, product = found
        raise BundleRefused(
            f"record of {serial_number}, product {facts['product']!r}: "
            f"the same issuer has given this serial number to a {product!r}"
        )
    if found := connection.execute(_ANOTHER_OF_THIS_GENERATION, facts).fetchone():
        raise BundleRefused(
            f"record of {found[0]}: another bundle of generation {facts['generation']} "
            "has brought another one"
        )


def _refuse_shared_key(connection: sqlite3.Connection) -> None:
    if found := connection.execute(_KEY_UNDER_ANOTHER).fetchone():
        serial_number, other, issuer = found
        raise BundleRefused(
            f"record of {serial_number}: its key stands under {other} of issuer {issuer.hex()}"
        )


def _add_bundle(connection: sqlite3.Connection, bundle: Bundle, loaded_at: int) -> int:
    origin = bundle.header.origin
    added = connection.execute(
        """
        INSERT INTO bundle (digest, factory, product, generation, batch_digest,
            build_list_digest, derivation_profile, issuing_chain, record_count, revocation_count,
            created_at, loaded_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        RETURNING number
        """,
        (
            bundle.digest,
            origin.factory_id,
            origin.product,
            origin.generation,
            origin.batch_digest,
            origin.build_list_digest,
            origin.derivation_profile,
            _chain_number(connection, bundle),
            bundle.header.record_count,
            bundle.header.revocation_count,
            int(origin.created_at.timestamp()),
            loaded_at,
        ),
    )
    return int(added.fetchone()[0])


def _chain_number(connection: sqlite3.Connection, bundle: Bundle) -> int:
    chain = bundle.header.origin.issuing_chain
    digest = hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in chain)).digest()
    found = connection.execute("SELECT number FROM issuing_chain WHERE digest = ?", (digest,))
    if row := found.fetchone():
        return int(row[0])
    added = connection.execute(
        "INSERT INTO issuing_chain (digest, idevid_issuer) VALUES (?, ?) RETURNING number",
        (digest, bundle.idevid_issuer),
    )
    number = int(added.fetchone()[0])
    connection.executemany(
        "INSERT INTO issuing_certificate VALUES (?, ?, ?)",
        ((number, position, each) for position, each in enumerate(chain)),
    )
    return number
