"""``brski-lab verify`` as a person and as a script call it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from brski_lab.cli import main
from tests.kit import pki
from tests.kit.voucher import OTHER_NONCE
from tests.unit.lab.verifying.test_verify import (
    IDEVID,
    MASA_ROOT,
    OEM,
    PLEDGES,
    REGISTRAR,
    signed_voucher,
)

NOW = pki.NOW.isoformat().replace("+00:00", "Z")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "voucher.cms").write_bytes(signed_voucher())
    (tmp_path / "voucher.b64").write_bytes(base64.encodebytes(signed_voucher()))
    (tmp_path / "other.cms").write_bytes(signed_voucher(nonce=OTHER_NONCE))
    (tmp_path / "request.cms").write_bytes(PLEDGES)
    for name, chain in {
        "masa": MASA_ROOT.chain,
        "oem": (OEM.root,),
        "registrar": REGISTRAR.chain,
        "idevid": IDEVID.chain,
    }.items():
        pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
        (tmp_path / f"{name}.pem").write_bytes(pem)
    return tmp_path


def verify(folder: Path, voucher: str, *more: str) -> int:
    return main(
        [
            *("verify", "voucher", str(folder / voucher)),
            *("--request", str(folder / "request.cms")),
            *("--anchor", str(folder / "masa.pem")),
            *more,
        ]
    )


def test_a_sound_voucher_ends_with_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each rule on a line of its own, the verdict last; in any armor."""
    for voucher in ("voucher.cms", "voucher.b64"):
        chain = ("--registrar-chain", str(folder / "registrar.pem"))
        assert verify(folder, voucher, "--time", NOW, *chain) == 0
        out = capsys.readouterr().out
        assert "ok          nonce (RFC 8995 §5.6.1)" in out
        assert "failed" not in out
        assert out.endswith("accepted\n")


def test_another_nonce_ends_with_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And both are told."""
    assert verify(folder, "other.cms", "--clockless") == 1
    out = capsys.readouterr().out
    assert "failed      nonce (RFC 8995 §5.6.1)" in out
    assert f"found: {OTHER_NONCE}; wanted: " in out
    assert out.endswith("refused\n")


def test_a_document_for_scripts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON document."""
    assert verify(folder, "other.cms", "--time", NOW, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "refused"
    (nonce,) = (step for step in document["steps"] if step["rule"] == "nonce")
    assert nonce == {
        "rule": "nonce",
        "section": "RFC 8995 §5.6.1",
        "outcome": "failed",
        "found": OTHER_NONCE,
        "wanted": nonce["wanted"],
        "reason": "nonces differ",
    }
    assert [step["outcome"] for step in document["steps"] if step["rule"] == "pin"] == [
        "not judged"
    ]


def test_a_voucher_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Accepted, and refused where the pledge met another registrar."""
    arguments = ["verify", "voucher-request", str(folder / "request.cms"), "--time", NOW]
    arguments += ["--anchor", str(folder / "oem.pem")]
    assert main([*arguments, "--registrar", str(folder / "registrar.pem")]) == 0
    assert main([*arguments, "--registrar", str(folder / "masa.pem"), "--json"]) == 1
    assert '"rule": "proximity"' in capsys.readouterr().out


@pytest.mark.parametrize(
    "more",
    [
        ["--time", "yesterday"],
        ["--registrar-chain", "absent.pem"],
        ["--interoperability", "everything"],
        ["--anchor", "."],
    ],
)
def test_misuse_ends_with_2(
    folder: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, without a traceback."""
    assert verify(folder, "voucher.cms", *more) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err


def test_files_that_hold_something_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No certificate in the anchors, several things for a voucher, a private key."""
    (folder / "empty.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    assert verify(folder, "voucher.cms", "--anchor", str(folder / "empty.pem")) == 2
    assert verify(folder, "idevid.pem") == 2
    key = pki.make_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(key)
    assert verify(folder, "key.pem") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert not any(line in told.err for line in key.decode().splitlines())
