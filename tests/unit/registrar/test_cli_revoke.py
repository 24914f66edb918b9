"""brski-registrar revoke and ca crl, as an operator has them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.pki.keys import spki_of
from brski.pki.names import ldevid_subject
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import LDevIDRequest
from registrar_plugin.cli import main
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.store.port import IssuedCertificate, Onboarding
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.telemetry.events import Event, EventKind
from tests.kit import pki
from tests.kit.est_site import Files, lay_out

ONE = DeviceKey(bytes(20), "SN-1")
TWIN = DeviceKey(bytes([1]) * 20, "SN-1")
OTHER = DeviceKey(bytes(20), "SN-2")
CRL = '[crl]\nfile = "owner.crl"\n'


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return lay_out(tmp_path, more=CRL)


def enroll(files: Files, *devices: DeviceKey) -> list[int]:
    """Onboard and certify *devices*; the numbers of their certificates."""

    async def run() -> list[int]:
        journal = SQLiteJournal(files.folder / "registrar.db")
        try:
            return [await _enroll(journal, EmbeddedCA(files.owner.signer), d) for d in devices]
        finally:
            await journal.close()

    return asyncio.run(run())


async def _enroll(journal: SQLiteJournal, ca: EmbeddedCA, device: DeviceKey) -> int:
    name = str(device).encode()
    digest = hashlib.sha256(name).digest()
    onboarding = Onboarding(
        device=device,
        idevid_spki_sha256=digest,
        manufacturer="acme",
        masa_url="https://masa.example.com/.well-known/brski",
        presentation="carried",
        idevid_chain=(b"\x30\x00",),
        pledge_request=name,
        request_digest=digest,
        updated_at=pki.NOW,
    )
    await journal.begin(onboarding, b"unsigned", Event(at=pki.NOW, kind=EventKind.IDENTITY))
    asked = LDevIDRequest(
        idevid_issuer=device.idevid_issuer,
        serial_number=device.serial_number,
        csr=b"",
        public_key=pki.make_key().public_key(),
        subject=ldevid_subject(device.serial_number, device.idevid_issuer),
    )
    octets = ca.prepare(asked, now=pki.NOW + timedelta(days=500))
    issued = await ca.complete(octets)
    assert isinstance(issued, x509.Certificate)
    line = Event(at=pki.NOW, kind=EventKind.LDEVID_INTENT)
    intent, _ = await SQLiteIssuances(journal.writer).intend(
        device, octets, digest, Issuance(), line, spki=spki_of(issued)
    )
    certificate = IssuedCertificate(
        device=device,
        certificate=issued.public_bytes(Encoding.DER),
        csr_digest=digest,
        spki_sha256=digest,
        state="active",
        issued_at=pki.NOW,
    )
    await journal.complete_ldevid(intent, certificate)
    return issued.serial_number


def listed(path: Path) -> set[int]:
    return {entry.serial_number for entry in x509.load_der_x509_crl(path.read_bytes())}


def run(files: Files, *said: str) -> int:
    return main([*said, "--settings", str(files.settings)])


def test_revoked_and_listed(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """One command withdraws, the other publishes; the journal says who did it and why."""
    bad, _ = enroll(files, ONE, OTHER)
    said = ["revoke", "SN-1", "--reason", "keyCompromise", "--note", "stolen", "--json"]
    assert run(files, *said) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["certificates"], document["reason"]) == (1, "keyCompromise")
    assert document["by"]
    assert run(files, "ca", "crl", "--out", str(files.folder / "crl.pem")) == 0
    assert "CRL 1, next update" in capsys.readouterr().out
    assert listed(files.folder / "owner.crl") == {bad}
    assert x509.load_pem_x509_crl((files.folder / "crl.pem").read_bytes()).is_signature_valid(
        files.owner.certificate.public_key()  # type: ignore[arg-type]  # a CA's
    )
    assert run(files, "journal", "SN-1", "--json") == 0
    events = json.loads(capsys.readouterr().out)["events"]
    (revoked,) = [event for event in events if event["step"] == "revocation"]
    assert revoked["details"]["note"] == "stolen"


@pytest.mark.requirement("SEC-9")
def test_an_ambiguous_serial_number_revokes_nobody(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two manufacturers' devices of one number: the issuers are listed, and it is misuse."""
    _, twin = enroll(files, ONE, TWIN)
    assert run(files, "revoke", "SN-1") == 2
    told = capsys.readouterr().err
    assert ONE.idevid_issuer.hex() in told
    assert TWIN.idevid_issuer.hex() in told
    assert run(files, "revoke", "SN-1", "--issuer", TWIN.idevid_issuer.hex()) == 0
    assert run(files, "ca", "crl") == 0
    assert listed(files.folder / "owner.crl") == {twin}


def test_again_changes_nothing_more(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """A second revocation finds nothing that is still good."""
    enroll(files, ONE)
    assert run(files, "revoke", "SN-1") == 0
    assert run(files, "revoke", "SN-1") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{ONE}: 1 certificate(s) revoked",
        f"{ONE}: 0 certificate(s) revoked",
    ]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (["revoke", "SN-9"], 1),
        (["revoke", "SN-1", "--reason", "superstition"], 2),
        (["revoke", "SN-1", "--issuer", "00"], 1),
    ],
)
def test_what_is_not_there_is_not_revoked(files: Files, said: list[str], code: int) -> None:
    """An unknown device, reason or issuer."""
    enroll(files, ONE)
    assert run(files, *said) == code


@pytest.mark.parametrize("reason", [each for each in Reason if each is not Reason.SUPERSEDED])
def test_each_reason_is_in_the_list(files: Files, reason: Reason) -> None:
    (number,) = enroll(files, ONE)
    assert run(files, "revoke", "SN-1", "--reason", reason.value) == 0
    assert run(files, "ca", "crl") == 0
    assert listed(files.folder / "owner.crl") == {number}


def test_what_a_renewal_says_is_no_persons_reason(files: Files) -> None:
    """It would be listed as renewals are: by default not at all."""
    enroll(files, ONE)
    assert run(files, "revoke", "SN-1", "--reason", "superseded") == 2


def test_no_table_no_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without [crl] the command says so; revocation works all the same."""
    files = lay_out(tmp_path)
    enroll(files, ONE)
    assert run(files, "revoke", "SN-1") == 0
    assert run(files, "ca", "crl") == 2
    assert "[crl]" in capsys.readouterr().err


def test_a_ca_that_may_not_sign_lists_is_told_at_the_start(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """keyUsage without cRLSign: brski-registrar check says it, not the first revocation."""
    root = pki.make_root("Example Owner")
    issuing = pki.make_ca("Example CA", root, key_usage=pki.key_usage("key_cert_sign"))
    (files.folder / "owner.key").write_bytes(issuing.key_pem)
    (files.folder / "owner.pem").write_bytes(
        b"".join(each.public_bytes(Encoding.PEM) for each in issuing.chain)
    )
    assert run(files, "check") == 2
    assert "cRLSign" in capsys.readouterr().err
