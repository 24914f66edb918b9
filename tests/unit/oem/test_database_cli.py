"""``brski-oem database`` from a terminal: what it says, and how it ends."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.edge.sqlite import connect
from brski.pki.keys import parse_pem_certificates
from oem_backend.cli import main
from oem_backend.database import schema
from tests.kit import oem, pki

FACTORY = oem.Factory()
SETTINGS = """
[database]
[[database.factory]]
name = "factory-1"
key = "factory-1.pem"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "factory-1.pem").write_bytes(
        FACTORY.signer.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    path = tmp_path / "oem.toml"
    path.write_text(SETTINGS)
    return path


def database(*arguments: object) -> int:
    return main(["database", *map(str, arguments)])


def bundle(settings: Path, octets: bytes, name: str = "one.bundle") -> Path:
    path = settings.with_name(name)
    path.write_bytes(octets)
    return path


@pytest.fixture
def loaded(settings: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """SN-1 under one issuer, SN-2 under two."""
    second = oem.Factory()
    FACTORY.load(settings.with_name("devices.db"), [FACTORY.make("SN-1"), FACTORY.make("SN-2")])
    second.load(settings.with_name("devices.db"), [second.make("SN-2")], product="Another")
    return settings


def out(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_bundle_is_loaded_once(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle(settings, FACTORY.bundle([FACTORY.make("SN-1"), FACTORY.make("SN-2")]))
    assert database("load", path, "-s", settings) == 0
    said = capsys.readouterr()
    assert said.out == "loaded: 2 records of Example Pump 7, generation 1: 2 added\n"
    assert said.err == ""
    assert database("load", path, "-s", settings) == 0
    assert capsys.readouterr().out.startswith("already loaded: bundle ")


def test_a_load_is_told_to_a_program(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle(settings, FACTORY.bundle([FACTORY.make("SN-1")], generation=3))
    assert database("load", path, "-s", settings, "--json") == 0
    document = out(capsys)
    digest = document.pop("bundle_digest")
    assert len(digest) == 64
    assert document == {
        "outcome": "loaded",
        "factory": "factory-1",
        "product": "Example Pump 7",
        "generation": 3,
        "records": 1,
        "added": 1,
        "replaced": 0,
        "unchanged": 0,
        "passed_over": 0,
        "revoked": 0,
    }
    assert database("load", path, "-s", settings, "--json") == 0
    again = out(capsys)
    assert (again["outcome"], again["bundle_digest"]) == ("already-loaded", digest)


def test_a_refused_bundle_ends_with_1_and_says_why(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    octets = FACTORY.bundle([FACTORY.make("SN-1")])
    path = bundle(settings, octets[:-1])
    assert database("load", path, "-s", settings) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "brski-oem: error: the file ends early, in its chunk 0\n"


def test_a_late_bundle_needs_a_word(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = bundle(settings, FACTORY.bundle([FACTORY.make("SN-1")], generation=1), "late")
    newer = bundle(settings, FACTORY.bundle([FACTORY.make("SN-2")], generation=2), "newer")
    assert database("load", newer, "-s", settings) == 0
    assert database("load", late, "-s", settings) == 1
    assert "hint: --late adds" in capsys.readouterr().err
    assert database("load", late, "-s", settings, "--late") == 0


def test_a_missing_bundle_is_misuse(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert database("load", settings.with_name("none"), "-s", settings) == 2
    assert "none" in capsys.readouterr().err
    assert not settings.with_name("devices.db").exists()


def test_a_missing_factory_key_is_misuse(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle(settings, FACTORY.bundle([FACTORY.make("SN-1")]))
    settings.write_text("[database]\n")
    assert database("load", path, "-s", settings) == 2
    assert "database.factory: missing" in capsys.readouterr().err


def test_another_file_as_database_is_misuse(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = connect(settings.with_name("devices.db"))
    connection.execute("CREATE TABLE other (number INTEGER)")
    connection.close()
    path = bundle(settings, FACTORY.bundle([FACTORY.make("SN-1")]))
    assert database("load", path, "-s", settings) == 2
    assert "is no OEM database" in capsys.readouterr().err


def test_a_locked_database_is_to_be_tried_again(
    loaded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.05)
    path = bundle(loaded, FACTORY.bundle([FACTORY.make("SN-7")]))
    other = sqlite3.connect(loaded.with_name("devices.db"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert database("load", path, "-s", loaded) == 3
    assert database("mark", "SN-1", "--flagged", "--reason", "odd", "-s", loaded) == 3
    assert "locked" in capsys.readouterr().err
    other.close()
    assert database("load", path, "-s", loaded) == 0


# -- show


def test_a_device_is_shown(loaded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert database("show", "SN-1", "-s", loaded, "--json") == 0
    document = out(capsys)
    assert document["serial_number"] == "SN-1"
    assert document["idevid_issuer"] == FACTORY.idevid_issuer.hex()
    assert (document["status"], document["status_reason"]) == ("active", "")
    assert document["presentation"] == "asserted"
    assert document["marks"] == []
    chain = parse_pem_certificates(document["chain_pem"].encode())
    assert chain[1:] == FACTORY.issuer.chain[:-1]
    assert database("show", "SN-1", "-s", loaded) == 0
    shown = capsys.readouterr().out
    assert FACTORY.idevid_issuer.hex() in shown
    assert "status               active" in shown


def test_an_unknown_device_is_refused(loaded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert database("show", "SN-9", "-s", loaded) == 1
    assert "knows no device SN-9" in capsys.readouterr().err
    assert database("show", "SN 9", "-s", loaded) == 2
    assert database("show", "SN-1", "--issuer", "00" * 20, "-s", loaded) == 1


def test_an_ambiguous_serial_number_lists_the_issuers(
    loaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["show"], ["mark", "--revoked", "--reason", "stolen"]):
        assert database(*command, "SN-2", "-s", loaded) == 2
        said = capsys.readouterr()
        assert said.out == ""
        first, *issuers = said.err.splitlines()
        assert first == "brski-oem: error: 2 devices have this serial number; say --issuer"
        assert len(issuers) == 2
        assert f"  --issuer {FACTORY.idevid_issuer.hex()}" in issuers
    assert database("show", "SN-2", "--issuer", FACTORY.idevid_issuer.hex(), "-s", loaded) == 0


def test_before_the_first_load_there_is_nothing_to_show(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert database("show", "SN-1", "-s", settings) == 2
    assert "does not exist" in capsys.readouterr().err


# -- mark


@pytest.mark.parametrize(("flag", "status"), [("--revoked", "revoked"), ("--flagged", "flagged")])
def test_a_device_is_marked(
    loaded: Path, capsys: pytest.CaptureFixture[str], flag: str, status: str
) -> None:
    assert database("mark", "SN-1", flag, "--reason", "stolen", "-s", loaded) == 0
    assert capsys.readouterr().out == f"SN-1: {status}, stolen\n"
    assert database("show", "SN-1", "-s", loaded, "--json") == 0
    document = out(capsys)
    assert (document["status"], document["status_reason"]) == (status, "stolen")
    (mark,) = document["marks"]
    assert (mark["verdict"], mark["reason"], mark["kind"]) == (status, "stolen", "key")
    assert mark["digest"] == document["spki_sha256"]
    assert database("show", "SN-1", "-s", loaded) == 0
    assert "mark  " in capsys.readouterr().out
    assert database("mark", "SN-1", flag, "--reason", "stolen", "-s", loaded) == 0
    assert "was so already" in capsys.readouterr().out


def test_of_two_namesakes_the_right_one_is_marked(
    loaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    issuer = FACTORY.idevid_issuer.hex()
    one = ["mark", "SN-2", "--issuer", issuer.upper(), "--revoked", "--reason", "lost"]
    assert database(*one, "-s", loaded, "--json") == 0
    document = out(capsys)
    assert (document["added"], document["idevid_issuer"]) == (True, issuer)
    assert document["status"] == "revoked"


@pytest.mark.parametrize("flags", [[], ["--revoked", "--flagged"], ["--flagged", "--lifted"]])
def test_a_mark_is_one_of_three(
    loaded: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert database("mark", "SN-1", *flags, "--reason", "stolen", "-s", loaded) == 2
    assert "--revoked, --flagged or --lifted" in capsys.readouterr().err


def test_a_mark_is_lifted_by_another_entry(
    loaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["-s", loaded, "--by", "Alice"]
    assert database("mark", "SN-1", "--revoked", "--reason", "stolen", *said) == 0
    assert database("mark", "SN-1", "--lifted", "--reason", "found-again", *said) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "SN-1: lifted, found-again"
    assert database("show", "SN-1", "-s", loaded, "--json") == 0
    document = out(capsys)
    assert document["status"] == "active"
    told = [(mark["verdict"], mark["reason"], mark["marked_by"]) for mark in document["marks"]]
    assert told == [("revoked", "stolen", "Alice"), ("lifted", "found-again", "Alice")]
    assert database("marks", "-s", loaded) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "revoked stolen by Alice on key " in first
    assert "lifted found-again by Alice on key " in second


def test_a_mark_names_this_account_where_nobody_is_named(
    loaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["--reason", "odd", "-s", loaded]
    assert database("mark", "SN-1", "--flagged", *said, "--json") == 0
    (mark,) = out(capsys)["marks"]
    assert mark["marked_by"] == pwd.getpwuid(os.getuid()).pw_name
    assert database("mark", "SN-1", "--flagged", *said, "--by", "J\u00fcrgen") == 2
    assert "printable ASCII" in capsys.readouterr().err


def test_a_batch_is_marked_before_a_bundle_of_it_is_there(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the device that comes with it is shown with why it is refused."""
    digest = FACTORY.origin().batch_digest.hex()
    said = ["mark", "--batch", digest, "--revoked", "--reason", "seed-leak", "-s", settings]
    assert database(*said) == 0
    assert capsys.readouterr().out == (
        f"batch {digest}: revoked, seed-leak; no bundle of it is loaded yet, "
        "it will count from then on\n"
    )
    path = bundle(settings, FACTORY.bundle([FACTORY.make("SN-1")]))
    assert database("load", path, "-s", settings) == 0
    assert database(*said, "--json") == 0
    capsys.readouterr()
    assert database("show", "SN-1", "-s", settings, "--json") == 0
    document = out(capsys)
    assert (document["status"], document["status_reason"]) == ("revoked", "seed-leak")
    assert document["marks"][0]["kind"] == "batch"
    lifted = ["mark", "SN-1", "--lifted", "--reason", "mistake", "-s", settings]
    assert database(*lifted) == 0
    assert capsys.readouterr().out == (
        "SN-1: lifted, mistake (was so already); still revoked, seed-leak\n"
    )


def test_a_chunk_is_marked_and_listed(loaded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = FACTORY.origin().batch_digest.hex()
    said = ["--batch", digest, "--chunk", "3", "--flagged", "--reason", "mixed-up", "-s", loaded]
    assert database("mark", *said) == 0
    assert capsys.readouterr().out == f"chunk 3 of batch {digest}: flagged, mixed-up\n"
    assert database("mark", *said, "--json") == 0
    document = out(capsys)
    assert (document["added"], document["bundles_loaded"]) == (False, 2)
    (mark,) = document["marks"]
    assert (mark["kind"], mark["digest"], mark["chunk"]) == ("chunk", digest, 3)
    assert database("marks", "--batch", digest, "-s", loaded) == 0
    assert f"on chunk 3 of batch {digest}" in capsys.readouterr().out
    assert database("marks", "--batch", "00" * 32, "--json", "-s", loaded) == 0
    assert out(capsys) == {"marks": []}


@pytest.mark.parametrize(
    "subject",
    [
        [],
        ["SN-1", "--batch", "00" * 32],
        ["SN-1", "--chunk", "0"],
        ["--batch", "00" * 31],
        ["--batch", "not hex"],
        ["--batch", "00" * 32, "--chunk", "16384"],
    ],
)
def test_what_is_marked_is_one_thing_that_can_be(loaded: Path, subject: list[str]) -> None:
    assert database("mark", *subject, "--revoked", "--reason", "stolen", "-s", loaded) == 2
    assert database("marks", "--json", "-s", loaded) == 0


def test_a_mark_has_a_reason(loaded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert database("mark", "SN-1", "--revoked", "-s", loaded) == 2
    assert database("mark", "SN-1", "--revoked", "--reason", "Not a token", "-s", loaded) == 2
    assert "reason 'Not a token'" in capsys.readouterr().err


# -- check and serve


def _serving(settings: Path) -> Path:
    root = pki.make_root()
    server = pki.make_server(root, name="localhost")
    key = settings.with_name("service.key")
    key.touch(0o600)
    key.write_bytes(server.key_pem)
    settings.with_name("service.pem").write_bytes(server.chain_pem)
    settings.with_name("owner.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    settings.write_text(
        SETTINGS
        + '[database.service]\nkey = "service.key"\nchain = "service.pem"\n'
        + 'registrar_anchors = "owner.pem"\n'
    )
    return settings


def test_sound_settings_are_good(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert database("check", "-s", settings) == 0
    assert database("check", "-s", _serving(settings)) == 0
    assert capsys.readouterr().out.count("good, 1 factory key(s)") == 2


@pytest.mark.parametrize("name", ["factory-1.pem", "service.key", "service.pem", "owner.pem"])
def test_a_file_that_is_not_what_it_should_be_is_found(
    settings: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    _serving(settings)
    settings.with_name(name).write_text("nothing of use")
    assert database("check", "-s", settings) == 2
    assert name in capsys.readouterr().err


def test_a_service_needs_its_table(loaded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert database("serve", "-s", loaded, "--listen", "127.0.0.1:0") == 2
    assert "database.service: missing" in capsys.readouterr().err


def test_a_service_needs_a_database(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert database("serve", "-s", _serving(settings), "--listen", "127.0.0.1:0") == 2
    assert "does not exist" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "database" in capsys.readouterr().out
    assert database("--help") == 0
    said = capsys.readouterr().out
    for command in ("load", "show", "mark", "serve", "check"):
        assert command in said
