"""Each way to a certificate gives the same octets: whose library, which process, proven or not."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import KeyUnusable, LocalError, Malformed, StateError
from brski.pki import cbor
from brski.pki.keys import encode_spki, parse_certificate, spki_of
from oem_backend.factory import pipeline, points, work
from oem_backend.factory.certify import (
    Terms,
    certify_keys,
    encode_certification,
    parse_certified,
)
from oem_backend.factory.points import Points, find_points
from tests.kit import factory
from tests.kit.factory import FactoryKit, InProcess

ORDER = ec.SECP256R1().group_order

needs_libcrypto = pytest.mark.skipif(find_points() is None, reason="needs libcrypto (libssl3)")


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    return factory.found(tmp_path)


def bundle_of(kit: FactoryKit, name: str, executor: InProcess | None = None) -> bytes:
    """What a factory of the same keys, with an empty store, makes of the same files."""
    records = factory.chips(6)
    kit.store.rename(kit.folder / f"store before {name}") if kit.store.exists() else None
    kit.take(kit.batch(records, records_a_chunk=4)[0])
    kit.make(kit.build_list(factory.serials(records)), name, executor=executor)
    return (kit.folder / name).read_bytes()


@pytest.fixture
def batch_once(kit: FactoryKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is sealed anew each time; the bundle names its digest, so it is made once."""
    made = kit.batch(factory.chips(6), records_a_chunk=4)
    monkeypatch.setattr(FactoryKit, "batch", lambda *_args, **_named: made)


@needs_libcrypto
@pytest.mark.usefixtures("batch_once")
def test_every_way_gives_the_same_octets(kit: FactoryKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certified here, certified by workers, proven by strangers, and without libcrypto."""
    here = bundle_of(kit, "here")
    proven = bundle_of(kit, "proven", InProcess(trusted=False))
    monkeypatch.setattr(pipeline, "FEW", 0)
    workers = InProcess()
    by_workers = bundle_of(kit, "by workers", workers)
    assert workers.done == ["do_step"] * 4  # two chunks: derived, and certified
    monkeypatch.setattr(work, "find_points", lambda: None)
    assert bundle_of(kit, "plain") == by_workers == proven == here


def test_what_a_stranger_derives_is_certified_here(
    kit: FactoryKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA's key is within reach of no worker that has to prove itself."""
    monkeypatch.setattr(pipeline, "FEW", 0)
    workers = InProcess(trusted=False)
    bundle_of(kit, "bundle", workers)
    assert workers.done == ["do_step"] * 2


def test_a_worker_that_certifies_reads_a_key_of_mode_0600(kit: FactoryKit) -> None:
    """It looks for itself: the file may have been opened to others since the program began."""
    line = kit.line
    (kit.folder / "issuing.key").chmod(0o644)
    terms = Terms(
        issuer=line.issuing.chain[0],
        masa_url=line.masa_url,
        not_before=factory.CREATED,
        hardware_module_type=None,
    )
    key = encode_spki(ec.derive_private_key(7, ec.SECP256R1()).public_key())
    job = encode_certification(terms, kit.folder / "issuing.key", [("SN-1", key)])
    with pytest.raises(KeyUnusable):
        certify_keys(job)
    (kit.folder / "issuing.key").chmod(0o600)
    (certificate,) = parse_certified(certify_keys(job), 1)
    assert spki_of(parse_certificate(certificate)) == key


def test_certificates_come_back_one_for_each_device() -> None:
    assert list(parse_certified(cbor.encode([b"a", b"b"]), 2)) == [b"a", b"b"]
    with pytest.raises(Malformed):
        parse_certified(cbor.encode([b"a"]), 2)
    with pytest.raises(Malformed):
        parse_certified(cbor.encode([b"a", 1]), 2)


# -- points


@needs_libcrypto
@pytest.mark.parametrize("scalar", [1, 2, 3, ORDER - 1, ORDER // 2, 2**255 - 19])
def test_a_point_is_that_of_the_other_library(scalar: int) -> None:
    """The edges of the range; hundreds of ordinary scalars pass in the test of every way."""
    found = find_points()
    assert found is not None
    expected = encode_spki(ec.derive_private_key(scalar, ec.SECP256R1()).public_key())
    assert found.spki(scalar) == expected


@needs_libcrypto
@pytest.mark.parametrize("scalar", [0, ORDER])
def test_a_scalar_without_a_point_is_refused(scalar: int) -> None:
    """The point at infinity has one octet, and is nobody's public key."""
    found = find_points()
    assert found is not None
    with pytest.raises(LocalError):
        found.spki(scalar)


def test_a_library_that_is_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no libcrypto, or an old one, the plain path is taken."""
    with pytest.raises(OSError, match="libcrypto without"):
        Points(ctypes.PyDLL(None))
    monkeypatch.setattr(points, "NAMES", ("libnowhere.so.3",))
    find_points.cache_clear()
    try:
        assert find_points() is None
    finally:
        find_points.cache_clear()


def test_certificates_are_not_left_to_workers_without_a_key_file(kit: FactoryKit) -> None:
    """A token's key stays where it is."""
    terms = Terms(
        issuer=kit.line.issuing.chain[0],
        masa_url="masa.example.com",
        not_before=factory.CREATED,
        hardware_module_type=None,
    )
    left = pipeline.Work(
        derivations=iter(()), terms=terms, issuing=kit.line.issuing, issuing_key=None
    )
    with pytest.raises(StateError):
        left._encode(pipeline._Certification([], []))
