"""The factory with seed batches of every derivation profile."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography import x509

from brski.edge.signers.public_key import load_public_key
from brski.errors import BatchRefused, UnknownFormat
from brski.idevid.bundle import open_bundle
from brski.pki.chain import TrustAnchors
from brski.pki.keys import encode_spki, parse_certificate, spki_of
from brski.seed.profiles import NAMES, profile
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from tests.kit import factory
from tests.kit.factory import CREATED, FactoryKit


def records_for(name: str, count: int = 4) -> list[SeedRecord]:
    octets = profile(name).least_seed_octets
    return [
        SeedRecord(
            chip_id=b"chip%04d" % number,
            seed=Seed(hashlib.sha512(b"%s %d" % (name.encode(), number)).digest()[:octets]),
        )
        for number in range(count)
    ]


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    return factory.found(tmp_path, levels=2)


@pytest.mark.requirement("OEM-1", "OEM-2", "OEM-8", "OEM-14")
@pytest.mark.parametrize("name", NAMES)
def test_certificates_of_every_profile_are_reproducible(kit: FactoryKit, name: str) -> None:
    """Each device's own key, under the factory's root; a second factory makes the same octets."""
    records = records_for(name)
    path, _ = kit.batch(records, derivation_profile=name)
    built = kit.build_list(factory.serials(records))
    bundles = []
    for bundle in ("one", "two"):
        kit.take(path)
        kit.make(built, bundle)
        bundles.append((kit.folder / bundle).read_bytes())
        kit.store.rename(kit.folder / f"store of {bundle}")
    assert bundles[0] == bundles[1]
    anchors = TrustAnchors([x509.load_pem_x509_certificate((kit.folder / "root.pem").read_bytes())])
    made = kit.records("one")
    for record, published in zip(records, made, strict=True):
        key = profile(name).derive(record.seed, record.chip_id)
        idevid = parse_certificate(published.certificate)
        assert published.spki == spki_of(idevid) == encode_spki(key.public_key())
        anchors.validate(idevid, [], at=CREATED)


@pytest.mark.parametrize("name", NAMES)
def test_bundle_and_records_name_the_profile(kit: FactoryKit, name: str) -> None:
    records = records_for(name, 1)
    kit.take(kit.batch(records, derivation_profile=name)[0])
    kit.make(kit.build_list(factory.serials(records)))
    with (kit.folder / "bundle").open("rb") as file:
        keys = {"factory-1": load_public_key(kit.folder / "bundle.pub")}
        assert open_bundle(file, keys).header.origin.derivation_profile == name
    assert {record.derivation_profile for record in kit.records()} == {name}


def test_each_batch_has_a_profile_of_its_own(kit: FactoryKit) -> None:
    """Two batches of one product, one build list: two bundles, two algorithms."""
    first = records_for("hmac-drbg-p256", 2)
    second = [
        SeedRecord(chip_id=b"other" + record.chip_id, seed=record.seed)
        for record in records_for("ml-dsa-44", 2)
    ]
    path, minted = kit.batch(first)
    kit.take(path)
    kit.take(
        kit.batch(
            second,
            "batch-2",
            derivation_profile="ml-dsa-44",
            sequence=2,
            predecessor=minted.digest,
        )[0]
    )
    numbered = [(r.chip_id, f"SN-{n}") for n, r in enumerate((*first, *second))]
    out = kit.folder / "out"
    out.mkdir()
    kit.make(kit.build_list(numbered), "out")
    names = {
        r.derivation_profile for path in out.iterdir() for r in kit.records(f"out/{path.name}")
    }
    assert names == {"hmac-drbg-p256", "ml-dsa-44"}


def test_a_batch_of_an_unknown_profile_is_not_even_sealed(kit: FactoryKit) -> None:
    with pytest.raises(UnknownFormat, match="derivation profile 'hmac-drbg-p521'"):
        kit.batch(records_for("hmac-drbg-p256"), derivation_profile="hmac-drbg-p521")


@pytest.mark.parametrize(
    ("made_for", "name", "why"),
    [
        ("hmac-drbg-p256", "hmac-drbg-p384", "32 octets, hmac-drbg-p384 needs 36 to 512"),
        ("hmac-drbg-p384", "open-dice-p384", "36 octets, open-dice-p384 needs 32"),
    ],
)
def test_seeds_of_a_length_that_the_profile_does_not_take_are_refused(
    kit: FactoryKit, made_for: str, name: str, why: str
) -> None:
    with pytest.raises(BatchRefused, match=why):
        kit.batch(records_for(made_for), derivation_profile=name)
