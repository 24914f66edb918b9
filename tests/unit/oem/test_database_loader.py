"""Loading bundles: whole or not at all, once, in the order of generations."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from brski.errors import (
    BundleRefused,
    ChainInvalid,
    IDevIDIssuerMismatch,
    KeyNotAllowed,
    Malformed,
    OnboardingError,
    SerialNumberMismatch,
    SignatureInvalid,
    Unavailable,
    UnknownFormat,
)
from brski.idevid.bundle import CertifiedDevice
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from oem_backend.database import loader
from oem_backend.database.loader import LoadReport, Outcome, load_bundle
from oem_backend.database.opening import open_reader
from oem_backend.database.schema import open_to_write
from tests.kit import oem, pki

Listed = Sequence[oem.Made | CertifiedDevice]
LATER = oem.CREATED + timedelta(days=30)


@pytest.fixture(scope="module")
def factory() -> oem.Factory:
    return oem.Factory()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "devices.db"


def find(database: Path, serial_number: str, issuer: bytes | None = None) -> DeviceRecord | None:
    reader = open_reader(database)
    found = reader.find(issuer, serial_number)
    reader.close()
    assert len(found) < 2
    return found[0] if found else None


def standing(database: Path, serial_number: str) -> tuple[DeviceStatus, str]:
    record = find(database, serial_number)
    assert record is not None
    return record.status, record.status_reason


def dump(database: Path) -> list[str]:
    """Everything in the file."""
    connection = sqlite3.connect(database)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def refuse(
    database: Path, octets: bytes, factory: oem.Factory, error: type[OnboardingError], match: str
) -> None:
    """The bundle is refused for this reason, and nothing has changed."""
    open_to_write(database).close()
    before = dump(database)
    with pytest.raises(error, match=match):
        factory.load_octets(database, octets)
    assert dump(database) == before


SUPERSEDED = (DeviceStatus.REVOKED, "superseded")
ACTIVE = (DeviceStatus.ACTIVE, "")


# -- once


def test_a_bundle_is_loaded_and_reported(factory: oem.Factory, database: Path) -> None:
    report = factory.load(database, [factory.make("SN-1"), factory.make("SN-2")], generation=4)
    assert report == LoadReport(
        outcome=Outcome.LOADED,
        bundle_digest=report.bundle_digest,
        factory=oem.FACTORY_ID,
        product=oem.PRODUCT,
        generation=4,
        records=2,
        added=2,
    )
    assert len(report.bundle_digest) == 32


def test_the_same_bundle_again_changes_nothing(factory: oem.Factory, database: Path) -> None:
    octets = factory.bundle([factory.make("SN-1")])
    first = factory.load_octets(database, octets)
    before = dump(database)
    again = factory.load_octets(database, octets)
    assert again.outcome is Outcome.ALREADY_LOADED
    assert again.bundle_digest == first.bundle_digest
    assert (again.records, again.added) == (1, 0)
    assert dump(database) == before


def test_a_bundle_signed_anew_is_the_same_bundle(database: Path) -> None:
    """Its digest is of what was signed, so a random signature makes no other one of it."""
    factory = oem.Factory()
    devices = [factory.make("SN-1")]
    one = factory.bundle(devices)
    factory.signer = pki.KeySigner(factory.signer.private_key, deterministic=False)
    other = factory.bundle(devices)
    assert one != other
    factory.load_octets(database, one)
    assert factory.load_octets(database, other).outcome is Outcome.ALREADY_LOADED


def test_a_loaded_bundle_again_is_no_lower_generation(factory: oem.Factory, database: Path) -> None:
    octets = factory.bundle([factory.make("SN-1")], generation=1)
    factory.load_octets(database, octets)
    factory.load(database, [factory.make("SN-2")], generation=2)
    assert factory.load_octets(database, octets).outcome is Outcome.ALREADY_LOADED


def test_progress_is_told_to_the_end(factory: oem.Factory, database: Path) -> None:
    told: list[tuple[int, int]] = []
    load_bundle(
        database,
        io.BytesIO(factory.bundle([factory.make("SN-1"), factory.make("SN-2")])),
        factory.keys,
        now=pki.NOW,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(2, 2)]


def test_a_bundle_stands_anywhere_in_a_stream(factory: oem.Factory, database: Path) -> None:
    stream = io.BytesIO(b"before" + factory.bundle([factory.make("SN-1")]))
    stream.seek(6)
    assert load_bundle(database, stream, factory.keys, now=pki.NOW).added == 1


def test_another_process_may_be_first(
    factory: oem.Factory, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two loads judge the same bundle at once: the second one to commit finds it there."""
    octets = factory.bundle([factory.make("SN-1")])
    stage = loader._stage

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(loader, "_stage", stage)
        assert factory.load_octets(database, octets).outcome is Outcome.LOADED
        stage(*arguments)

    monkeypatch.setattr(loader, "_stage", overtaken)
    assert factory.load_octets(database, octets).outcome is Outcome.ALREADY_LOADED
    assert standing(database, "SN-1") == ACTIVE


def test_a_newer_bundle_may_be_first(
    factory: oem.Factory, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generation is judged again once nobody else can write."""
    stage = loader._stage

    def overtaken(*arguments: Any) -> None:
        monkeypatch.setattr(loader, "_stage", stage)
        factory.load(database, [factory.make("SN-2")], generation=2)
        stage(*arguments)

    monkeypatch.setattr(loader, "_stage", overtaken)
    with pytest.raises(BundleRefused, match="is at 2"):
        factory.load(database, [factory.make("SN-1")], generation=1)
    assert find(database, "SN-1") is None


def test_a_full_temporary_disk_is_to_be_tried_again(
    factory: oem.Factory, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = factory.bundle([factory.make(f"SN-{number}") for number in range(40)])
    full = (*loader._STAGED, "PRAGMA temp.max_page_count = 10")
    with monkeypatch.context() as patched:
        patched.setattr(loader, "_STAGED", full)
        refuse(database, octets, factory, Unavailable, "full")
    assert factory.load_octets(database, octets).added == 40


# -- what is refused before anything is judged


def test_an_unknown_factory_is_refused(factory: oem.Factory, database: Path) -> None:
    stranger = oem.Factory(factory.issuer, factory_id="factory-2")
    octets = stranger.bundle([stranger.make("SN-1")])
    refuse(database, octets, factory, BundleRefused, "'factory-2' is not configured")


def test_a_known_factorys_name_with_another_key_is_refused(
    factory: oem.Factory, database: Path
) -> None:
    stranger = oem.Factory(factory.issuer)
    octets = stranger.bundle([stranger.make("SN-1")])
    refuse(database, octets, factory, BundleRefused, "signs with key")


def test_an_altered_signature_is_refused(factory: oem.Factory, database: Path) -> None:
    octets = factory.bundle([factory.make("SN-1")])
    at = octets.index(factory.origin().batch_digest)
    altered = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
    refuse(database, altered, factory, SignatureInvalid, "signature")


def test_an_altered_record_is_refused(factory: oem.Factory, database: Path) -> None:
    octets = factory.bundle([factory.make("SN-1")])
    altered = octets[:-9] + bytes([octets[-9] ^ 1]) + octets[-8:]
    refuse(database, altered, factory, BundleRefused, "chunk 0 is not the one that was signed")


@pytest.mark.parametrize("cut", [1, 100, 400])
def test_a_truncated_file_is_refused(factory: oem.Factory, database: Path, cut: int) -> None:
    octets = factory.bundle([factory.make("SN-1")])
    refuse(database, octets[:-cut], factory, Malformed, "ends early")


def test_another_file_is_refused(factory: oem.Factory, database: Path) -> None:
    refuse(database, b"not a bundle at all", factory, UnknownFormat, "this is no")


# -- certificates


def _tampered(device: oem.Made) -> bytes:
    """Its certificate with the last octet of the signature altered."""
    return device.certificate[:-1] + bytes([device.certificate[-1] ^ 1])


def test_a_certificate_that_the_issuer_has_not_signed_is_refused(
    factory: oem.Factory, database: Path
) -> None:
    """The factory's bundle key alone makes no device: each certificate's own signature counts."""
    good = factory.make("SN-1")
    bad = factory.make("SN-2")
    listed = bad.listed(certificate=_tampered(bad))
    octets = factory.bundle([good, listed])
    refuse(database, octets, factory, ChainInvalid, r"record \d+, SN-2: .*is not issued by")
    octets = factory.bundle([listed])  # as the first one, which is judged up to the root
    refuse(database, octets, factory, ChainInvalid, r"record \d+, SN-2")
    assert factory.load(database, [good, bad]).added == 2


def test_a_certificate_of_another_issuer_with_the_same_identifier_is_refused(
    factory: oem.Factory, database: Path
) -> None:
    impostor = pki.make_ca(
        "Example OEM Issuing CA 1",
        pki.make_pki(levels=1),
        not_after=pki.NEVER,
        ski=False,
        extra=[(x509.SubjectKeyIdentifier(factory.idevid_issuer), False)],
    )
    device = pki.make_idevid(impostor, "SN-1")
    listed = CertifiedDevice(
        serial_number="SN-1",
        presentation=Presentation.ASSERTED,
        certificate=device.der,
        chunk=0,
    )
    octets = factory.bundle([listed])
    refuse(database, octets, factory, ChainInvalid, r"record \d+, SN-1")


def _entry(device: pki.Entity, serial_number: str = "SN-1") -> CertifiedDevice:
    return CertifiedDevice(
        serial_number=serial_number,
        presentation=Presentation.ASSERTED,
        certificate=device.der,
        chunk=0,
    )


@pytest.mark.parametrize(
    ("knobs", "error", "match"),
    [
        ({"kind": "P-521"}, KeyNotAllowed, "public key is not"),
        (
            {
                "basic_constraints": x509.BasicConstraints(ca=True, path_length=None),
                "key_usage": pki.CA_KEY_USAGE,
                "extra": [
                    (
                        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
                        True,
                    )
                ],
            },
            ChainInvalid,
            "record 0, SN-1",
        ),
    ],
)
def test_a_certificate_that_no_registrar_would_take_is_refused(
    factory: oem.Factory,
    database: Path,
    knobs: dict[str, Any],
    error: type[OnboardingError],
    match: str,
) -> None:
    good = pki.make_idevid(factory.issuer, "SN-1")
    bad = pki.make_idevid(factory.issuer, "SN-1", **knobs)
    refuse(database, factory.bundle([_entry(bad)]), factory, error, match)
    assert factory.load(database, [_entry(good)]).added == 1


def test_a_certificate_of_another_serial_number_is_refused(
    factory: oem.Factory, database: Path
) -> None:
    octets = factory.bundle([_entry(pki.make_idevid(factory.issuer, "SN-2"))])
    refuse(database, octets, factory, SerialNumberMismatch, r"record \d+, SN-1")


def test_a_certificate_of_another_issuer_is_refused(factory: oem.Factory, database: Path) -> None:
    octets = factory.bundle([_entry(pki.make_idevid(pki.make_pki("Another"), "SN-1"))])
    refuse(database, octets, factory, IDevIDIssuerMismatch, "record 0, ")


def test_an_issuing_certificate_that_is_no_ca_is_refused(database: Path) -> None:
    """All signatures are right: only BasicConstraints stand in the way."""
    root = pki.make_pki(levels=1)
    knobs: dict[str, Any] = {"issuer": root, "not_after": pki.NEVER}
    usage = pki.key_usage("digital_signature", "key_cert_sign")
    name = pki.common_name("Not a CA")
    no_ca = pki.certify(name, key_usage=usage, **knobs)
    factory = oem.Factory(no_ca)
    octets = factory.bundle([_entry(pki.make_idevid(no_ca, "SN-1"))])
    refuse(database, octets, factory, ChainInvalid, r"record \d+, SN-1")
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    factory = oem.Factory(
        pki.certify(name, key_usage=usage, basic_constraints=constraints, **knobs)
    )
    assert factory.load(database, [factory.make("SN-1")]).added == 1


def test_a_key_twice_in_a_bundle_is_refused(factory: oem.Factory, database: Path) -> None:
    device = factory.make("SN-1")
    other = factory.make("SN-2", key=device.private_key)
    octets = factory.bundle([device, other])
    refuse(database, octets, factory, BundleRefused, "record 1, SN-2: its key comes twice")


def test_the_last_of_many_records_refuses_all(factory: oem.Factory, database: Path) -> None:
    devices: Listed = [factory.make(f"SN-{number}") for number in range(9)]
    bad = factory.make("SN-9")
    octets = factory.bundle([*devices, bad.listed(certificate=_tampered(bad))])
    refuse(database, octets, factory, ChainInvalid, r"record \d+, SN-9")
    assert find(database, "SN-0") is None


# -- against what stands in the database


def test_another_key_in_the_same_generation_is_refused(
    factory: oem.Factory, database: Path
) -> None:
    factory.load(database, [factory.make("SN-1")], generation=2)
    octets = factory.bundle([factory.make("SN-1"), factory.make("SN-2")], generation=2)
    refuse(database, octets, factory, BundleRefused, "record of SN-1: another bundle")
    assert find(database, "SN-2") is None


def test_another_certificate_of_the_same_key_in_the_same_generation_is_refused(
    factory: oem.Factory, database: Path
) -> None:
    device = factory.make("SN-1")
    factory.load(database, [device])
    again = factory.make("SN-1", key=device.private_key, masa_url="masa.example.net")
    refuse(database, factory.bundle([again]), factory, BundleRefused, "record of SN-1: another")


def test_another_presentation_in_the_same_generation_is_refused(
    factory: oem.Factory, database: Path
) -> None:
    """Which way a device presents itself decides whether a MASA demands its signed request."""
    device = factory.make("SN-1")
    factory.load(database, [device.listed(presentation=Presentation.ASSERTED)])
    octets = factory.bundle([device.listed(presentation=Presentation.CARRIED)])
    refuse(database, octets, factory, BundleRefused, "record of SN-1: another")


def test_the_same_record_in_another_bundle_of_a_generation_is_unchanged(
    factory: oem.Factory, database: Path
) -> None:
    device = factory.make("SN-1")
    factory.load(database, [device])
    report = factory.load(database, [device, factory.make("SN-2")])
    assert (report.added, report.unchanged, report.replaced) == (1, 1, 0)


def test_a_key_under_another_serial_number_is_refused(factory: oem.Factory, database: Path) -> None:
    device = factory.make("SN-1")
    factory.load(database, [device])
    same = factory.make("SN-2", key=device.private_key)
    for generation in (1, 2):
        octets = factory.bundle([same], generation=generation)
        refuse(database, octets, factory, BundleRefused, "SN-2: its key stands under SN-1")


def test_a_key_under_another_issuer_is_refused(factory: oem.Factory, database: Path) -> None:
    """A second issuing CA of ours does not make a second device of one key."""
    device = factory.make("SN-1")
    factory.load(database, [device])
    second = oem.Factory()
    octets = second.bundle([second.make("SN-1", key=device.private_key)], generation=2)
    refuse(database, octets, second, BundleRefused, "SN-1: its key stands under SN-1 of issuer")


def test_a_serial_number_of_another_product_is_refused(
    factory: oem.Factory, database: Path
) -> None:
    factory.load(database, [factory.make("SN-1")])
    octets = factory.bundle([factory.make("SN-1")], product="Another Pump", generation=9)
    refuse(database, octets, factory, BundleRefused, "has given this serial number to a 'Example")


# -- generations


def test_a_higher_generation_replaces(factory: oem.Factory, database: Path) -> None:
    old = factory.make("SN-1")
    new = factory.make("SN-1", created=LATER)
    factory.load(database, [old, factory.make("SN-2")], generation=1)
    report = factory.load(database, [new.listed(old)], generation=2)
    assert (report.added, report.replaced, report.revoked) == (0, 1, 1)
    record = find(database, "SN-1")
    assert record is not None
    assert (record.certificate, record.generation) == (new.certificate, 2)
    assert record.status is DeviceStatus.ACTIVE
    assert standing(database, "SN-2") == ACTIVE


def test_a_lower_generation_changes_nothing(factory: oem.Factory, database: Path) -> None:
    old = factory.make("SN-1")
    first = factory.bundle([old, factory.make("SN-2")], generation=1)
    factory.load(database, [factory.make("SN-1", created=LATER).listed(old)], generation=2)
    refuse(database, first, factory, BundleRefused, "generation 1, .* is at 2")


def test_generations_are_counted_for_each_product(factory: oem.Factory, database: Path) -> None:
    factory.load(database, [factory.make("SN-1")], generation=7)
    report = factory.load(database, [factory.make("SN-2")], product="Another", generation=1)
    assert report.added == 1


def test_a_late_bundle_adds_what_nothing_newer_speaks_of(
    factory: oem.Factory, database: Path
) -> None:
    old = factory.make("SN-1")
    late = factory.bundle([old, factory.make("SN-2")], generation=1)
    new = factory.make("SN-1", created=LATER)
    factory.load(database, [new.listed(old)], generation=2)
    report = factory.load_octets(database, late, late=True)
    assert (report.added, report.passed_over, report.replaced) == (1, 1, 0)
    record = find(database, "SN-1")
    assert record is not None
    assert (record.certificate, record.generation) == (new.certificate, 2)
    assert standing(database, "SN-2") == ACTIVE
    assert factory.load_octets(database, late).outcome is Outcome.ALREADY_LOADED


def test_a_late_bundles_replaced_device_comes_in_revoked(
    factory: oem.Factory, database: Path
) -> None:
    """The chip has got another serial number since: its old one must not come back to life."""
    old = factory.make("SN-1")
    late = factory.bundle([old], generation=1)
    new = factory.make("SN-9", key=old.private_key, created=LATER)
    factory.load(database, [new.listed(old)], generation=2)
    assert factory.load_octets(database, late, late=True).added == 1
    assert standing(database, "SN-1") == SUPERSEDED
    assert standing(database, "SN-9") == ACTIVE


# -- re-issue


def test_a_wrong_label_is_mended(factory: oem.Factory, database: Path) -> None:
    """The same chip, so the same key, under another serial number."""
    wrong = factory.make("SN-1")
    right = factory.make("SN-2", key=wrong.private_key, created=LATER)
    factory.load(database, [wrong])
    report = factory.load(database, [right.listed(wrong)], generation=2)
    assert (report.added, report.revoked) == (1, 1)
    assert standing(database, "SN-1") == SUPERSEDED
    assert standing(database, "SN-2") == ACTIVE


def test_an_exchanged_board_gets_the_serial_number(factory: oem.Factory, database: Path) -> None:
    """The new key is not marked by the old one's revocation, and the old key stays out."""
    broken = factory.make("SN-1")
    spare = factory.make("SN-1", created=LATER)
    factory.load(database, [broken])
    factory.load(database, [spare.listed(broken)], generation=2)
    record = find(database, "SN-1")
    assert record is not None
    assert record.spki == spare.spki
    assert record.status is DeviceStatus.ACTIVE
    marks = [line for line in dump(database) if line.startswith('INSERT INTO "mark"')]
    assert len(marks) == 1
    assert broken.revocation.certificate_sha256.hex() in marks[0].lower()


def test_two_boards_change_places(factory: oem.Factory, database: Path) -> None:
    one, two = factory.make("SN-1"), factory.make("SN-2")
    factory.load(database, [one, two])
    first = factory.make("SN-1", key=two.private_key, created=LATER)
    second = factory.make("SN-2", key=one.private_key, created=LATER)
    report = factory.load(database, [first.listed(one, two), second.listed(one, two)], generation=2)
    assert (report.replaced, report.revoked) == (2, 2)
    for new in (first, second):
        record = find(database, new.serial_number)
        assert record is not None
        assert record.spki == new.spki
        assert record.status is DeviceStatus.ACTIVE


def test_the_same_key_under_the_same_serial_number_is_not_hit_by_its_own_revocation(
    factory: oem.Factory, database: Path
) -> None:
    old = factory.make("SN-1")
    new = factory.make("SN-1", key=old.private_key, created=LATER, masa_url="masa.example.net")
    factory.load(database, [old])
    factory.load(database, [new.listed(old)], generation=2)
    record = find(database, "SN-1")
    assert record is not None
    assert record.certificate == new.certificate
    assert record.status is DeviceStatus.ACTIVE


def test_another_issuing_ca_takes_over_with_a_revocation(
    factory: oem.Factory, database: Path
) -> None:
    old = factory.make("SN-1")
    factory.load(database, [old])
    second = oem.Factory()
    new = second.make("SN-1", key=old.private_key, created=LATER)
    second.load(database, [new.listed(old)], generation=2)
    before = find(database, "SN-1", factory.idevid_issuer)
    after = find(database, "SN-1", second.idevid_issuer)
    assert before is not None
    assert after is not None
    assert (before.status, before.status_reason) == SUPERSEDED
    assert after.status is DeviceStatus.ACTIVE


def test_a_revocation_waits_for_what_it_revokes(factory: oem.Factory, database: Path) -> None:
    old = factory.make("SN-1")
    factory.load(database, [factory.make("SN-2").listed(old)], generation=1)
    assert find(database, "SN-1") is None
    factory.load(database, [old], generation=1)
    assert standing(database, "SN-1") == SUPERSEDED


def test_a_revocation_at_two_records_is_one_mark(factory: oem.Factory, database: Path) -> None:
    old = factory.make("SN-0")
    factory.load(database, [old])
    report = factory.load(
        database, [factory.make("SN-1").listed(old), factory.make("SN-2").listed(old)], generation=2
    )
    assert report.revoked == 1


def test_a_superseded_certificate_cannot_be_loaded_back(
    factory: oem.Factory, database: Path
) -> None:
    """Not even with a higher generation: the mark is on the certificate, for ever."""
    old = factory.make("SN-1")
    new = factory.make("SN-1", created=LATER)
    factory.load(database, [old])
    factory.load(database, [new.listed(old)], generation=2)
    factory.load(database, [old], generation=3)
    assert standing(database, "SN-1") == SUPERSEDED
