"""EST clients that are no devices: what stands in the journal for them, and what commands say."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from brski.errors import NotAuthenticated, SettingsError
from brski.pki.chain import TrustAnchors
from brski.telemetry.status import Status
from registrar_plugin.cli import main
from registrar_plugin.identity.clients import (
    CERTIFICATE,
    NO_DEVICES,
    PASSWORD,
    RA,
    RESERVED,
    client_issuer,
    client_key,
    client_kind,
)
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.identity.policy import Manufacturer
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.telemetry.events import EventKind
from tests.kit import pki
from tests.kit.est_site import Files, lay_out
from tests.kit.journal import certified, written
from tests.kit.world import make_world

GATEWAY = client_key(PASSWORD, "gateway")
NAMESAKE = DeviceKey(bytes(20), "gateway")


def test_the_key_of_a_kind_is_as_the_page_has_it() -> None:
    """By the bytes; another kind or version is another, and none is a digest of a key."""
    digest = hashlib.sha256(b"brski est client v1\x00password").digest()
    assert client_issuer(PASSWORD) == digest[:20]
    assert client_issuer(PASSWORD).hex() == "9f5348b140dacf9988e993688550264dd44f4026"
    assert len({client_issuer(kind) for kind in NO_DEVICES}) == 3
    assert {client_issuer(kind) for kind in NO_DEVICES} == RESERVED


def test_a_client_is_told_from_a_device() -> None:
    """By what stands in the issuer's place alone."""
    assert client_kind(GATEWAY) == PASSWORD
    assert client_kind(client_key(CERTIFICATE, "a")) == CERTIFICATE
    assert client_kind(client_key(RA, "a")) == RA
    assert client_kind(NAMESAKE) is None


def test_no_manufacturer_has_a_clients_issuer() -> None:
    """The operator's word about idevid-issuers does not go that far."""
    anchors = TrustAnchors([pki.make_root("Example OEM").certificate])
    Manufacturer(name="acme", anchors=anchors, source=None, issuers=frozenset([bytes(20)]))
    with pytest.raises(SettingsError, match="stands for clients"):
        Manufacturer(name="acme", anchors=anchors, source=None, issuers=frozenset(RESERVED))


async def test_a_clients_certificate_reports_nothing(tmp_path: Path) -> None:
    """It is an LDevID of this domain, and nobody's that was onboarded."""
    async with make_world(tmp_path) as world:
        issued = await certified(world.journal, world.owner, GATEWAY, Issuance(enrollee=PASSWORD))
        with pytest.raises(NotAuthenticated, match="no device"):
            await world.reports.enroll_status(Status(status=True), world.connection([issued]))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return lay_out(tmp_path)


def said(capsys: pytest.CaptureFixture[str], files: Files, *arguments: str) -> tuple[int, str, str]:
    code = main([*arguments, "-s", str(files.settings)])
    out, err = capsys.readouterr()
    return code, out, err


def test_explain_and_revoke_take_a_clients_name(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """And say what it is; show, which is about onboardings, says where else to look."""
    written(files, GATEWAY)
    code, out, _ = said(capsys, files, "explain", "gateway")
    assert (code, out.strip()) == (0, "gateway (password client): its certificate was issued")
    code, out, _ = said(capsys, files, "explain", "gateway", "--json")
    assert json.loads(out)["client"] == "password"
    code, _, err = said(capsys, files, "show", "gateway")
    assert code == 1
    assert "explain gateway" in err
    code, out, _ = said(capsys, files, "revoke", "gateway")
    assert (code, out.strip()) == (0, "gateway (password client): 1 certificate(s) revoked")
    _, out, _ = said(capsys, files, "explain", "gateway")
    assert "withdrawn its certificates; it may ask for another" in out


def test_a_device_of_that_serial_number_is_another(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command has to be told which of them, and lists both."""
    written(files, GATEWAY, NAMESAKE)
    code, _, err = said(capsys, files, "explain", "gateway")
    assert code == 2
    assert re.search(r"--issuer 9f5348b1[0-9a-f]{32}  the password client\n", err)
    issuer = client_issuer(PASSWORD).hex()
    code, out, _ = said(capsys, files, "revoke", "gateway", "--issuer", issuer)
    assert (code, "1 certificate(s)" in out) == (0, True)
    code, out, _ = said(capsys, files, "explain", "gateway", "--issuer", "00" * 20)
    assert (code, "issued" in out) == (0, True)


def test_approval_does_not_know_clients(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """Whom their accounts let in, no person is asked about."""
    written(files, GATEWAY)
    code, _, err = said(capsys, files, "deny", "gateway")
    assert code == 1
    assert "knows no device gateway" in err


def test_events_of_a_client_are_listed(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """As a device's."""
    written(files, GATEWAY)
    code, out, _ = said(capsys, files, "journal", "gateway", "--json")
    assert code == 0
    (line,) = json.loads(out)["events"]
    assert line["step"] == EventKind.LDEVID
    assert line["idevid_issuer"] == client_issuer(PASSWORD).hex()
