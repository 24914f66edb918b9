"""Two implementations of the pages come to the same octets, today and for ever."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from brski.idevid.assertion import assertion_certificate, is_asserted, read_assertion
from brski.idevid.build_list import BuildEntry, BuildListWriter, open_build_list
from brski.idevid.bundle import (
    BundleOrigin,
    BundleWriter,
    CertifiedDevice,
    Revocation,
    open_bundle,
)
from brski.idevid.profile import IDevIDProfile
from brski.idevid.record import Presentation
from brski.pki import extensions, keys
from tests.kit import pki
from tests.unit.idevid import second_opinion as other

DATA = Path(__file__).parent / "data"
DOCS = Path(__file__).parents[3] / "docs"
PRESENTATIONS = (Presentation.CARRIED, Presentation.ASSERTED)
ISSUING = keys.parse_certificate((DATA / "issuing.der").read_bytes())
CHAIN = ((DATA / "issuing.der").read_bytes(), (DATA / "root.der").read_bytes())
PROFILE = IDevIDProfile(
    issuer=ISSUING,
    masa_url=other.MASA_URL.decode(),
    not_before=other.CREATED,
    hardware_module_type=other.HARDWARE_TYPE,
)
ENTRIES = [
    BuildEntry(
        chip_id=chip_id,
        serial_number=serial_number,
        presentation=PRESENTATIONS[presentation],
        replace=replace,
    )
    for serial_number, (chip_id, presentation, replace) in other.CHIPS.items()
]
REPLACED = Revocation(
    idevid_issuer=other.REPLACED[0],
    serial_number=other.REPLACED[1],
    certificate_sha256=other.REPLACED[2],
)


def _committed(name: str) -> bytes:
    return (DATA / name).read_bytes()


def _certify(serial_number: str) -> bytes:
    spki = other.spki_of(other.DEVICE_KEYS[serial_number])
    return PROFILE.certify(spki, serial_number, pki.KeySigner(other.ISSUING_KEY))


def test_the_committed_files_are_what_the_second_implementation_makes() -> None:
    """Nothing was touched up by hand."""
    assert {path.name: path.read_bytes() for path in DATA.iterdir() if path.suffix != ".md"} == (
        other.files()
    )


@pytest.mark.requirement("OEM-3", "OEM-4", "OEM-6", "OEM-7", "OEM-14")
def test_idevid_certificate() -> None:
    assert _certify("SN-1") == _committed("idevid.der")


def test_assertion_certificate() -> None:
    made = assertion_certificate(
        pki.KeySigner(other.DEVICE_KEYS["SN-1"]),
        "SN-1",
        idevid_issuer=extensions.subject_key_identifier(ISSUING),
        masa_url=other.MASA_URL.decode(),
    )
    assert keys.certificate_der(made) == _committed("assertion.der")
    assert is_asserted([made])
    assert read_assertion(made).serial_number == "SN-1"


def test_build_list() -> None:
    signer = pki.KeySigner(other.ASSEMBLY_KEY)
    writer = BuildListWriter(io.BytesIO())
    for entry in ENTRIES:
        writer.add(entry)
    out = io.BytesIO()
    digest = writer.finish(
        out,
        signer_id="line-1",
        created_at=other.CREATED,
        product="Example Pump 7",
        generation=3,
        signer=signer,
    )
    assert out.getvalue() == _committed("build_list_v1.cborseq")
    found = open_build_list(
        io.BytesIO(_committed("build_list_v1.cborseq")), {"line-1": signer.public_key}
    )
    assert found.digest == digest
    assert list(found.entries()) == ENTRIES


def test_bundle() -> None:
    signer = pki.KeySigner(other.FACTORY_KEY)
    assembly = {"line-1": other.ASSEMBLY_KEY.public_key()}
    build_list = open_build_list(io.BytesIO(_committed("build_list_v1.cborseq")), assembly)
    origin = BundleOrigin(
        factory_id="factory-1",
        batch_digest=other.BATCH_DIGEST,
        build_list_digest=build_list.digest,
        generation=build_list.header.generation,
        created_at=build_list.header.created_at,
        product=build_list.header.product,
        derivation_profile="hmac-drbg-p256",
        issuing_chain=CHAIN,
    )
    writer = BundleWriter(io.BytesIO(), origin)
    for entry in build_list.entries():
        writer.add(
            CertifiedDevice(
                serial_number=entry.serial_number,
                presentation=entry.presentation,
                certificate=_certify(entry.serial_number),
                chunk=0,
                replaces=(REPLACED,) if entry.replace else (),
            )
        )
    out = io.BytesIO()
    digest = writer.finish(out, signer)
    assert out.getvalue() == _committed("bundle_v1.cborseq")
    found = open_bundle(
        io.BytesIO(_committed("bundle_v1.cborseq")), {"factory-1": signer.public_key}
    )
    assert found.digest == digest
    assert found.header.origin == origin
    assert list(found.revocations()) == [REPLACED]
    assert [record.serial_number for record in found.records()] == list(other.CHIPS)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("idevid-certificate.md", ["issuing.der", "idevid.der", "assertion.der"]),
        ("oem-formats.md", ["build_list_v1.cborseq", "bundle_v1.cborseq"]),
    ],
)
def test_the_pages_name_these_very_files(page: str, names: list[str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for name in names:
        assert f"{hashlib.sha256(_committed(name)).hexdigest()}  {name}" in text
