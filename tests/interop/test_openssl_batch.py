"""A vendor with a shell and OpenSSL: the commands of docs/seed-batch.md, run as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest

from brski.edge.settings import load_settings
from brski.edge.signers.file import load_signer
from brski.edge.signers.public_key import load_public_key
from brski.errors import BatchRefused, Malformed, OnboardingError, SettingsError, UnknownFormat
from brski.seed.batch import BatchHeader, build_header
from brski.seed.batch_file import SeedBatch
from brski.seed.cms_batch import mint_cms
from brski.seed.cms_keys import CMSPrivateKey, CMSPublicKey
from brski.seed.formats import RecipientIds, open_any_batch, open_any_chunk
from brski.seed.record import SeedRecord
from brski_lab.cli import main as lab
from oem_backend.cli import main as oem
from oem_backend.factory.intake import Intake, Keys
from oem_backend.factory.settings import FactoryFile
from tests.kit import factory
from tests.kit.programs import require_program

PAGE = Path(__file__).parents[2] / "docs" / "seed-batch.md"
OAEP = "-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha256"
RECIPIENT, VENDOR, BATCH = range(3)


def commands() -> list[str]:
    """The blocks of commands under "Second format", in order."""
    text = PAGE.read_text().partition("## Second format")[2]
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(found) == 3
    return found


def shell(folder: Path, script: str, **values: str) -> str:
    """Run *script* in *folder*; what it prints."""
    require_program("openssl", "openssl")
    done = subprocess.run(
        ["/bin/sh", "-euc", script],
        cwd=folder,
        env={**os.environ, **values},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_keys(folder: Path, *, vendor: str = "P-256", recipient: str = "P-384") -> None:
    """Both parties' key pairs, by the page's first two blocks; other kinds by another genpkey."""
    recipient_commands, vendor_commands, _ = commands()
    assert f"ec_paramgen_curve:{'P-384'}" in recipient_commands
    if recipient == "RSA":
        kind = "RSA -pkeyopt rsa_keygen_bits:3072"
    else:
        kind = f"EC -pkeyopt ec_paramgen_curve:{recipient}"
    shell(folder, recipient_commands.replace("EC -pkeyopt ec_paramgen_curve:P-384", kind))
    shell(folder, vendor_commands.replace("curve:P-256", f"curve:{vendor}"))


def write_records(folder: Path, records: list[SeedRecord]) -> None:
    lines = (f"{record.chip_id.hex()} {record.seed.octets.hex()}\n" for record in records)
    (folder / "records.txt").write_text("".join(lines))


def recipient_key(folder: Path) -> CMSPrivateKey:
    return CMSPrivateKey.parse((folder / "recipient-cms.key").read_bytes())


def opened(folder: Path, octets: bytes) -> SeedBatch:
    vendors = {"example-silicon": load_public_key(folder / "vendor.pub")}
    ids = RecipientIds(cose=bytes(32), cms=recipient_key(folder).public_key.key_id)
    return open_any_batch(BytesIO(octets), vendors, ids)


def read_all(folder: Path, octets: bytes) -> list[SeedRecord]:
    batch = opened(folder, octets)
    key = (folder / "recipient-cms.key").read_bytes()
    return [
        record
        for index, sealed in batch.sealed_chunks()
        for record in open_any_chunk(batch.header_octets, index, sealed, key)
    ]


@pytest.mark.parametrize(
    ("vendor", "recipient", "values"),
    [
        ("P-256", "P-384", {}),
        ("P-256", "P-256", {"a_chunk": "2", "sequence": "7", "predecessor": "ab" * 32}),
        ("P-384", "P-384", {"a_chunk": "3", "digest": "sha384"}),
        ("P-256", "RSA", {"a_chunk": "4", "seal": OAEP}),
    ],
)
def test_the_commands_of_the_page_make_a_batch(
    tmp_path: Path, vendor: str, recipient: str, values: dict[str, str]
) -> None:
    """With each kind of key; every chip comes back, and the digest is the one that they print."""
    make_keys(tmp_path, vendor=vendor, recipient=recipient)
    records = factory.chips(7)
    write_records(tmp_path, records)
    printed = shell(tmp_path, commands()[BATCH], **values)
    octets = (tmp_path / "seeds.batch").read_bytes()
    batch = opened(tmp_path, octets)
    assert printed == f"{batch.digest.hex()}\n"
    assert batch.header.chunk_count == -(-7 // int(values.get("a_chunk", "10000")))
    assert batch.header.sequence == int(values.get("sequence", "1"))
    assert read_all(tmp_path, octets) == records


def test_seven_chips_are_spread_as_the_header_says(tmp_path: Path) -> None:
    """The shell's division is ours."""
    make_keys(tmp_path)
    write_records(tmp_path, factory.chips(11))
    shell(tmp_path, commands()[BATCH], a_chunk="3")
    assert len(read_all(tmp_path, (tmp_path / "seeds.batch").read_bytes())) == 11


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (
            {"seal": "-keyopt ecdh_kdf_md:sha1"},
            Malformed,
        ),  # SHA-1 in the key derivation, OpenSSL's default
        ({"digest": "sha384"}, Malformed),
        ({"product": "Example 1000 "}, Malformed),
        ({"product": "Ex\u00e4mple"}, Malformed),
        ({"profile": "rot13"}, UnknownFormat),
        ({"sequence": "01"}, Malformed),
        ({"vendor": "stranger"}, BatchRefused),
    ],
)
def test_what_a_vendor_gets_wrong_is_refused(
    tmp_path: Path, values: dict[str, str], error: type[OnboardingError]
) -> None:
    make_keys(tmp_path)
    write_records(tmp_path, factory.chips(3))
    shell(tmp_path, commands()[BATCH], **values)
    with pytest.raises(error):
        read_all(tmp_path, (tmp_path / "seeds.batch").read_bytes())
    shell(tmp_path, commands()[BATCH])
    assert read_all(tmp_path, (tmp_path / "seeds.batch").read_bytes())


@pytest.mark.parametrize(
    "bent",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.upper(),
        lambda text: text.replace(" ", "  "),
        lambda text: text.replace("\n", "\n\n", 1),
    ],
    ids=["CRLF", "byte order mark", "upper case", "two spaces", "empty line"],
)
def test_records_in_another_spelling_are_refused(tmp_path: Path, bent: object) -> None:
    make_keys(tmp_path)
    write_records(tmp_path, factory.chips(3))
    path = tmp_path / "records.txt"
    path.write_bytes(bent(path.read_text()).encode())  # type: ignore[operator]  # one of the above
    shell(tmp_path, commands()[BATCH])
    with pytest.raises((Malformed, BatchRefused), match="chunk 0"):
        read_all(tmp_path, (tmp_path / "seeds.batch").read_bytes())


def test_openssl_opens_what_we_seal(tmp_path: Path) -> None:
    """The other way round: signature and seal, by its own commands."""
    make_keys(tmp_path)
    records = factory.chips(3)
    out = BytesIO()
    header = _header(tmp_path, recipient_key(tmp_path).public_key)
    signer = load_signer(tmp_path / "vendor.key")
    minted = mint_cms(
        header,
        records,
        recipient=recipient_key(tmp_path).public_key,
        signer=signer,
        out=out,
        spool=BytesIO(),
    )
    (tmp_path / "manifest.der").write_bytes(minted.manifest)
    (tmp_path / "chunk.der").write_bytes(out.getvalue()[len(minted.manifest) :])
    verified = shell(
        tmp_path,
        "openssl cms -verify -binary -inform DER -in manifest.der -certfile vendor.pem "
        "-nointern -noverify",
    )
    assert verified.startswith("brski seed batch v1\nvendor: example-silicon\n")
    text = shell(
        tmp_path,
        "openssl cms -decrypt -binary -inform DER -in chunk.der -inkey recipient-cms.key "
        "-recip recipient-cms.pem",
    )
    assert text.splitlines()[2:] == [
        f"{record.chip_id.hex()} {record.seed.octets.hex()}" for record in records
    ]


def _header(folder: Path, recipient: CMSPublicKey) -> BatchHeader:
    return build_header(
        vendor_id="example-silicon",
        vendor_key=load_public_key(folder / "vendor.pub"),
        product="sensor",
        batch_id="batch",
        sequence=1,
        predecessor=None,
        derivation_profile="hmac-drbg-p256",
        record_count=3,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        recipient=recipient,
    )


# -- in the factory


def _taking_cms(folder: Path) -> factory.FactoryKit:
    """A factory whose vendor has made its key, and which has made one for it."""
    kit = factory.found(folder)
    make_keys(folder)
    kit.settings.write_text(
        kit.settings.read_text().replace(
            "intake_key",
            'cms_recipient_key = "recipient-cms.key"\n'
            'cms_recipient_public = "recipient-cms.pem"\nintake_key',
            1,
        )
    )
    return kit


def test_a_batch_of_openssls_gives_the_same_certificates(tmp_path: Path) -> None:
    """To the octet, as the batch in CBOR with the same seeds: by the programs, in two stores."""
    chips = factory.chips(5)
    kit = _taking_cms(tmp_path)
    _, minted = kit.batch(chips, "cbor.batch")
    built = kit.build_list(factory.serials(chips))
    assert kit.take(tmp_path / "cbor.batch").outcome is Intake.TAKEN
    kit.make(built, "cbor.bundle")
    first = [record.certificate for record in kit.records("cbor.bundle")]
    shutil.rmtree(kit.store)

    write_records(tmp_path, chips)
    shell(tmp_path, commands()[BATCH], vendor="vendor", product="sensor", a_chunk="2")
    report = kit.take(tmp_path / "seeds.batch")
    assert (report.outcome, report.records) == (Intake.TAKEN, 5)
    assert report.digest != minted.digest
    kit.make(built, "cms.bundle")
    assert [record.certificate for record in kit.records("cms.bundle")] == first


def test_both_formats_share_a_vendors_sequence(tmp_path: Path) -> None:
    """A batch in CMS follows one in CBOR by its digest; a gap between them is seen and listed."""
    kit = _taking_cms(tmp_path)
    first, minted = kit.batch(factory.chips(2), "one.batch")
    kit.take(first)
    assert kit.summary()["missing_batches"] == []
    write_records(tmp_path, factory.chips(2, start=2))
    named = {"vendor": "vendor", "product": "sensor", "sequence": "2"}
    shell(tmp_path, commands()[BATCH], predecessor="ab" * 32, **named)
    with pytest.raises(BatchRefused, match="names another predecessor"):
        kit.take(tmp_path / "seeds.batch")
    printed = shell(tmp_path, commands()[BATCH], predecessor=minted.digest.hex(), **named)
    kit.take(tmp_path / "seeds.batch")
    fourth, _ = kit.batch(
        factory.chips(2, start=6), "four.batch", sequence=4, predecessor=bytes(32)
    )
    kit.take(fourth, accept_gap=True)
    assert kit.summary()["missing_batches"] == [
        {"vendor": "vendor", "product": "sensor", "first": 3, "last": 3}
    ]
    write_records(tmp_path, factory.chips(2, start=4))
    third = {**named, "sequence": "3", "predecessor": printed.strip()}
    shell(tmp_path, commands()[BATCH], **third)
    with pytest.raises(BatchRefused, match="names another predecessor"):
        kit.take(tmp_path / "seeds.batch")  # the fourth does not name it


def test_a_seed_in_both_formats_is_seen(tmp_path: Path) -> None:
    kit = _taking_cms(tmp_path)
    path, minted = kit.batch(factory.chips(2), "one.batch")
    kit.take(path)
    write_records(tmp_path, factory.chips(2, start=1))
    shell(
        tmp_path,
        commands()[BATCH],
        vendor="vendor",
        product="sensor",
        sequence="2",
        predecessor=minted.digest.hex(),
    )
    with pytest.raises(BatchRefused, match="is in chunk 0 of batch vendor/sensor/1 already"):
        kit.take(tmp_path / "seeds.batch")


def test_without_a_key_for_it_the_factory_takes_none(tmp_path: Path) -> None:
    kit = _taking_cms(tmp_path)
    write_records(tmp_path, factory.chips(2))
    shell(tmp_path, commands()[BATCH], vendor="vendor", product="sensor")
    keys: Keys = replace(kit.keys, cms_recipient_key=None, cms_recipient_key_id=None)
    with pytest.raises(BatchRefused, match="no recipient key for that is configured"):
        kit.take(tmp_path / "seeds.batch", keys=keys)
    assert kit.take(tmp_path / "seeds.batch").outcome is Intake.TAKEN


def test_the_lab_can_play_such_a_vendor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = _taking_cms(tmp_path)
    asked = [
        *("mint", "--count", "3", "--format", "cms", "--records-a-chunk", "2"),
        *("--key", "vendor.key", "--recipient", "recipient-cms.pem"),
        *("--chips", "chips", "--out", "lab.batch", "--product", "sensor"),
    ]
    named = {"vendor.key", "recipient-cms.pem", "chips", "lab.batch"}
    assert lab([str(tmp_path / word) if word in named else word for word in asked]) == 0
    printed = capsys.readouterr().out
    report = kit.take(tmp_path / "lab.batch")
    assert (printed, report.records) == (f"{report.digest.hex()}\n", 3)


@pytest.mark.parametrize("left_out", ["cms_recipient_key", "cms_recipient_public"])
def test_both_halves_of_the_recipient_key_are_set_or_none(tmp_path: Path, left_out: str) -> None:
    kit = _taking_cms(tmp_path)
    assert oem(["factory", "intake", str(tmp_path / "none"), "-s", str(kit.settings)]) == 2
    lines = kit.settings.read_text().splitlines()
    kit.settings.write_text("\n".join(line for line in lines if not line.startswith(left_out)))
    with pytest.raises(SettingsError, match="go together"):
        load_settings(kit.settings, FactoryFile)


def test_the_program_takes_a_batch_of_openssls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its settings, in worker processes; and status has nothing missing."""
    kit = _taking_cms(tmp_path)
    write_records(tmp_path, factory.chips(5))
    shell(tmp_path, commands()[BATCH], vendor="vendor", product="sensor", a_chunk="2")
    said = ["-s", str(kit.settings), "--json"]
    assert oem(["factory", "intake", str(tmp_path / "seeds.batch"), *said]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 5
    assert oem(["factory", "status", *said]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["chips"], document["missing_batches"]) == (5, [])
