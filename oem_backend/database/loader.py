"""Loads the factory's bundles: each whole, or not at all (docs/oem-database.md, sections 3 and 4).

Everything that takes time happens before the database is locked: the certificates are judged one by
one on their way into temporary tables, and one short transaction brings them in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final

from cryptography import x509

from brski.errors import BundleRefused, ChainInvalid, SignatureInvalid
from brski.idevid.bundle import Bundle, BundleOrigin, open_bundle
from brski.idevid.record import SUPERSEDED, DeviceRecord
from brski.idevid.shape import Shapes, SignedParts
from brski.pki import keys, signatures
from brski.pki.chain import TrustAnchors
from brski.pki.signer import PublicKey
from oem_backend.database.opening import as_place
from oem_backend.database.port import AlreadyThere, Place, Session

_GROUP: Final = 1000  # records between two reports of progress

_STAGED: Final = (
    """
    CREATE TEMPORARY TABLE staged (
        serial_number TEXT NOT NULL PRIMARY KEY,
        certificate OCTETS NOT NULL,
        certificate_sha256 OCTETS NOT NULL,
        spki OCTETS NOT NULL,
        spki_sha256 OCTETS NOT NULL UNIQUE,
        presentation TEXT NOT NULL,
        chunk INTEGER NOT NULL,
        superseded INTEGER NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TEMPORARY TABLE staged_revocation (
        idevid_issuer OCTETS NOT NULL,
        serial_number TEXT NOT NULL,
        certificate_sha256 OCTETS NOT NULL
    )
    """,
)
_STAGE: Final = (
    *("serial_number", "certificate", "certificate_sha256", "spki", "spki_sha256"),
    *("presentation", "chunk"),
)
_STAGE_REVOCATION: Final = ("idevid_issuer", "serial_number", "certificate_sha256")

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
    SELECT serial_number, CAST(:issuer AS OCTETS) FROM staged
)
"""
_MARK_REVOKED: Final = """
INSERT INTO mark (digest, kind, chunk, idevid_issuer, serial_number, verdict, reason, marked_by,
    bundle, marked_at)
SELECT DISTINCT certificate_sha256, 'certificate', -1, idevid_issuer, serial_number, 'revoked',
    CAST(:reason AS TEXT), '', CAST(:bundle AS BIGINT), CAST(:now AS BIGINT)
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
SELECT serial_number, CAST(:issuer AS OCTETS), certificate, certificate_sha256, spki, spki_sha256,
    presentation, chunk, CAST(:bundle AS BIGINT), superseded
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
    place: Place | Path,
    file: BinaryIO,
    factories: Mapping[str, PublicKey],
    *,
    now: datetime,
    late: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> LoadReport:
    """Bring a bundle's records and revocations into an OEM database.

    Args:
        place: the directory; a path is that of an SQLite file, made when missing, mode 0600.
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
        StateError, FileUnusable: *place* is no directory, or cannot be opened.

    Whatever is raised, nothing has changed.

    docs/oem-database.md.
    """
    bundle = open_bundle(file, factories)
    with closing(as_place(place).open_to_write()) as session:
        if _is_loaded(session, bundle):
            return _report(bundle, Outcome.ALREADY_LOADED)
        _judge_generation(session, bundle.header.origin, late=late)
        with session.staging():
            _stage(session, bundle, progress)
        with session.writing():
            if _is_loaded(session, bundle):  # by another process, meanwhile
                return _report(bundle, Outcome.ALREADY_LOADED)
            _judge_generation(session, bundle.header.origin, late=late)
            report = _merge(session, bundle, now)
        session.settle()
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


def _is_loaded(session: Session, bundle: Bundle) -> bool:
    return bool(
        session.rows("SELECT 1 FROM bundle WHERE digest = :digest", {"digest": bundle.digest})
    )


def _judge_generation(session: Session, origin: BundleOrigin, *, late: bool) -> None:
    ((highest,),) = session.rows(
        "SELECT max(generation) FROM bundle WHERE product = :product", {"product": origin.product}
    )
    if highest is not None and origin.generation < highest and not late:
        raise BundleRefused(
            f"bundle of generation {origin.generation}, product {origin.product!r} is at {highest}",
            hint="--late adds the devices that nothing newer speaks of",
        )


# -- staging: what has been judged, unseen by others


def _stage(session: Session, bundle: Bundle, progress: Callable[[int, int], None] | None) -> None:
    for statement in _STAGED:
        session.run(statement)
    session.fill(
        "staged_revocation",
        _STAGE_REVOCATION,
        (
            (entry.idevid_issuer, entry.serial_number, entry.certificate_sha256)
            for entry in bundle.revocations()
        ),
    )
    try:
        session.fill("staged", _STAGE, map(_staged, _judged(bundle, progress)))
    except AlreadyThere as err:
        raise BundleRefused(f"{_second_holder(bundle)}: its key comes twice") from err


def _second_holder(bundle: Bundle) -> str:
    """Whose key another device before it has; an engine may not say which record it was at."""
    seen: set[bytes] = set()
    for number, record in enumerate(bundle.records()):
        digest = hashlib.sha256(record.spki).digest()
        if digest in seen:
            return f"record {number}, {record.serial_number}"
        seen.add(digest)
    return "some record"


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


def _judged(bundle: Bundle, progress: Callable[[int, int], None] | None) -> Iterator[DeviceRecord]:
    """Every record, once its certificate has been found to lead to the bundle's root."""
    judge = _Judge(bundle)
    total = bundle.header.record_count
    for count, record in enumerate(bundle.records(), start=1):
        try:
            judge.check(record)
        except ChainInvalid as err:
            raise ChainInvalid(
                f"record {count - 1}, {record.serial_number}: {err.reason}", section=err.section
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


# -- merging: inside the one transaction


def _merge(session: Session, bundle: Bundle, now: datetime) -> LoadReport:
    origin = bundle.header.origin
    facts: dict[str, Any] = {
        "issuer": bundle.idevid_issuer,
        "product": origin.product,
        "generation": origin.generation,
        "reason": SUPERSEDED,
        "now": int(now.timestamp()),
    }
    facts["bundle"] = _add_bundle(session, bundle, facts["now"])
    revoked = session.change(_MARK_REVOKED, facts)
    session.change(_SUPERSEDE_STANDING, {})
    session.change(_SUPERSEDE_STAGED, {})
    _refuse_contradictions(session, facts)
    unchanged = session.change(_DROP_UNCHANGED, facts)
    passed_over = session.change(_DROP_OLDER, facts)
    replaced = session.change(_REMOVE_REPLACED, facts)
    _refuse_shared_key(session)
    inserted = session.change(_INSERT, facts)
    return _report(
        bundle,
        Outcome.LOADED,
        added=inserted - replaced,
        replaced=replaced,
        unchanged=unchanged,
        passed_over=passed_over,
        revoked=revoked,
    )


def _refuse_contradictions(session: Session, facts: Mapping[str, Any]) -> None:
    for serial_number, product in session.rows(_OF_ANOTHER_PRODUCT, facts):
        raise BundleRefused(
            f"record of {serial_number}, product {facts['product']!r}: "
            f"the same issuer has given this serial number to a {product!r}"
        )
    for (serial_number,) in session.rows(_ANOTHER_OF_THIS_GENERATION, facts):
        raise BundleRefused(
            f"record of {serial_number}: another bundle of generation {facts['generation']} "
            "has brought another one"
        )


def _refuse_shared_key(session: Session) -> None:
    for serial_number, other, issuer in session.rows(_KEY_UNDER_ANOTHER, {}):
        raise BundleRefused(
            f"record of {serial_number}: its key stands under {other} of issuer {issuer.hex()}"
        )


_ADD_BUNDLE: Final = """
INSERT INTO bundle (digest, factory, product, generation, batch_digest, build_list_digest,
    derivation_profile, issuing_chain, record_count, revocation_count, created_at, loaded_at)
VALUES (:digest, :factory, :product, :generation, :batch, :list, :profile, :chain, :records,
    :revocations, :created, :now)
RETURNING number
"""
_ADD_CHAIN: Final = """
INSERT INTO issuing_chain (digest, idevid_issuer) VALUES (:digest, :issuer) RETURNING number
"""
_ADD_CERTIFICATE: Final = """
INSERT INTO issuing_certificate (issuing_chain, position, certificate)
VALUES (:chain, :position, :certificate)
"""


def _add_bundle(session: Session, bundle: Bundle, loaded_at: int) -> int:
    origin = bundle.header.origin
    ((number,),) = session.rows(
        _ADD_BUNDLE,
        {
            "digest": bundle.digest,
            "factory": origin.factory_id,
            "product": origin.product,
            "generation": origin.generation,
            "batch": origin.batch_digest,
            "list": origin.build_list_digest,
            "profile": origin.derivation_profile,
            "chain": _chain_number(session, bundle),
            "records": bundle.header.record_count,
            "revocations": bundle.header.revocation_count,
            "created": int(origin.created_at.timestamp()),
            "now": loaded_at,
        },
    )
    return int(number)


def _chain_number(session: Session, bundle: Bundle) -> int:
    chain = bundle.header.origin.issuing_chain
    digest = hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in chain)).digest()
    values = {"digest": digest, "issuer": bundle.idevid_issuer}
    for (number,) in session.rows(
        "SELECT number FROM issuing_chain WHERE digest = :digest", values
    ):
        return int(number)
    ((number,),) = session.rows(_ADD_CHAIN, values)
    for position, certificate in enumerate(chain):
        session.change(
            _ADD_CERTIFICATE, {"chain": number, "position": position, "certificate": certificate}
        )
    return int(number)
