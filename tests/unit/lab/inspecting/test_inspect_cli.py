"""``brski-lab inspect`` as a person and as a script call it."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from brski_lab.cli import main
from brski_lab.inspecting.inspection import MOST_OCTETS
from tests.kit import pki

OEM = pki.make_pki("Example OEM")
IDEVID = pki.make_idevid(OEM)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "anything.txt"
    path.write_bytes(IDEVID.der)
    return path


def test_a_tree_for_people(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, exit status 0."""
    assert main(["inspect", str(file)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("certificate\n")
    assert "role: IDevID" in told.out
    assert "odd (1)" in told.out
    assert told.err == ""


def test_a_document_for_scripts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON document, with every finding's section."""
    assert main(["inspect", "--json", str(file)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["octets"] == len(IDEVID.der)
    (artifact,) = document["artifacts"]
    assert artifact["kind"] == "certificate"
    assert artifact["stopped"] is None
    assert [each["section"] for each in artifact["findings"]] == ["RFC 8995 §2.3"]


def test_from_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The file "-"."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(IDEVID.der)))
    assert main(["inspect", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["octets"] == len(IDEVID.der)


def test_a_broken_file_is_shown_and_says_where_it_stops(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 0 all the same: it was shown."""
    file.write_bytes(IDEVID.der[:-30])
    assert main(["inspect", str(file)]) == 0
    assert "stops at octet" in capsys.readouterr().out
    assert main(["inspect", "--json", str(file)]) == 0
    (artifact,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert artifact["stopped"]["octet"] < len(IDEVID.der)


def test_what_is_not_known_ends_with_1(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing of it is printed."""
    file.write_bytes(b"a secret of another program")
    assert main(["inspect", str(file)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("brski-lab: error: nothing that is known here")
    assert "secret" not in told.err


def test_a_private_key_ends_with_1(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even its public part is printed."""
    key = pki.make_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(key)
    for arguments in (["inspect", str(file)], ["inspect", "--json", str(file)]):
        assert main(arguments) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert not any(line in told.err for line in key.decode().splitlines())


def test_misuse_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No file, no such file, a folder."""
    for arguments in (
        ["inspect"],
        ["inspect", str(tmp_path / "absent")],
        ["inspect", str(tmp_path)],
    ):
        assert main(arguments) == 2
        assert "Traceback" not in capsys.readouterr().err


def test_a_sparse_gigabyte_is_refused_by_its_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only its beginning is read."""
    path = tmp_path / "large"
    path.write_bytes(IDEVID.der)
    os.truncate(path, 1 << 30)
    assert main(["inspect", str(path)]) == 1
    assert f"at most {MOST_OCTETS} are read" in capsys.readouterr().err


def test_control_characters_do_not_reach_the_terminal(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor markup, nor a lone surrogate into JSON."""
    file.write_bytes(b'{"version":1,"status":true,"reason":"\\u001b[2J[bold]\\ud800\\u202e"}')
    assert main(["inspect", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold]" in shown
    assert main(["inspect", "--json", str(file)]) == 0
    json.loads(capsys.readouterr().out)
