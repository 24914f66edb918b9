"""The demo, as a person starts it; openssl looks at what it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brski_lab.cli import main
from tests.kit.programs import require_library, require_program
from tests.kit.tee import is_root

PROGRAM = "import sys; from brski_lab.cli import main; sys.exit(main())"
STEPS = [
    "connect",
    "voucher-request",
    "voucher",
    "voucher-status",
    "cacerts",
    "csrattrs",
    "enroll",
    "enroll-status",
]


def lab(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One run of the demo with everything kept: its folder and its document."""
    folder = tmp_path_factory.mktemp("demo") / "kept"
    diagram = folder.with_name("diagram.mmd")
    ended = lab("--json", "--keep", folder, "--pledges", "4", "--diagram", diagram)
    assert ended.returncode == 0, ended.stderr
    assert ("tee device: signer and pledge run as one user" in ended.stderr) is not is_root()
    assert diagram.read_text().startswith("sequenceDiagram\n")
    document: dict[str, Any] = json.loads(ended.stdout)
    return folder, document


@pytest.mark.requirement("E2E-1", "E2E-9")
def test_everybody_ends_as_told(kept: tuple[Path, dict[str, Any]]) -> None:
    """Two ways of being somebody, one certified when met, four refused, and four more at once."""
    folder, document = kept
    ends = [(p["serial_number"], p["identity"], p["outcome"]) for p in document["pledges"]]
    assert ends[:7] == [
        ("SN-0001", "carried", "enrolled"),
        ("SN-0002", "asserted", "enrolled"),
        ("SN-0002", "asserted", "refused"),
        ("SN-0BAD", "asserted", "refused"),
        ("SN-0003", "carried", "refused"),
        ("SN-0004", "asserted", "enrolled"),
        ("SN-0005", "asserted", "enrolled"),
    ]
    assert [end[2] for end in ends[-4:]] == ["enrolled"] * 4
    assert document["artifacts"] == str(folder)
    for pledge in document["pledges"]:
        assert bool(pledge["reason"]) == (pledge["outcome"] == "refused")
        names = [step["name"] for step in pledge["steps"]]
        complete = STEPS if pledge["outcome"] == "enrolled" else STEPS[:2]
        assert names[-len(complete) :] == complete
        assert names == complete or pledge["serial_number"] == "SN-0005"  # it may try again
        assert all(step["ms"] >= 0 for step in pledge["steps"])


def test_who_is_certified_on_demand_has_waited(kept: tuple[Path, dict[str, Any]]) -> None:
    """A second at the least: it was told to come again (202), and so were those refused (404)."""
    _, document = kept
    asked = {
        place: [step["ms"] for step in pledge["steps"] if step["name"] == "voucher-request"]
        for place, pledge in enumerate(document["pledges"])
    }
    assert all(max(asked[place]) >= 1000 for place in (2, 3, 6))


def test_the_operator_learns_what_the_pledge_does_not(kept: tuple[Path, dict[str, Any]]) -> None:
    """Impostor and stranger are told apart in the journal only."""
    _, document = kept
    impostor, stranger = document["pledges"][2:4]
    assert "key" in impostor["reason"]
    assert impostor["reason"] != stranger["reason"]
    (leaked,) = [p for p in document["pledges"] if p["serial_number"] == "SN-0030"]
    assert leaked["reason"] == "the record of SN-0030 is revoked: seed-leak"


def test_each_has_the_key_that_it_is_said_to_have(kept: tuple[Path, dict[str, Any]]) -> None:
    """Fuses, but for those whose kind is another."""
    _, document = kept
    others = [p for p in document["pledges"] if p["device"] != "tpm"]
    assert {p["profile"] for p in others} == {"hmac-drbg-p256"}
    assert [p["device"] for p in others] == ["fuse"] * 5 + ["tee"] + ["fuse"] * 6


@pytest.mark.parametrize("serial_number", ["SN-0001", "SN-0002"])
def test_the_tools_agree_with_what_happened(
    kept: tuple[Path, dict[str, Any]],
    serial_number: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`inspect` finds nothing wrong in what was kept, and `verify` accepts it, rule by rule."""
    folder, _ = kept
    device, anchors = folder / serial_number, folder / "anchors"
    for path in sorted(device.iterdir()):
        assert main(["inspect", "--json", str(path)]) == 0
        for artifact in json.loads(capsys.readouterr().out)["artifacts"]:
            assert artifact["stopped"] is None
            assert not [each for each in artifact["findings"] if "refused" in each["text"]]
    given = ["--idevid", str(device / "idevid.pem"), "--json"]
    voucher = ["verify", "voucher", str(device / "voucher.cms")]
    asked = ["--request", str(device / "registrar-voucher-request.cms")]
    assert main([*voucher, *asked, "--anchor", str(anchors / "masa.pem"), *given]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert {step["rule"]: step["outcome"] for step in steps}["nonce"] == "ok"
    assert main([*voucher, *asked, "--anchor", str(anchors / "owner-ca.pem"), *given]) == 1
    capsys.readouterr()
    request = ["verify", "voucher-request", str(device / "pledge-voucher-request.cms"), *given]
    assert main([*request, "--anchor", str(anchors / "oem-root.pem")]) == 0
    capsys.readouterr()


def test_devices_with_a_tpm_onboard(kept: tuple[Path, dict[str, Any]]) -> None:
    """Both curves, asserting and carrying, where swtpm and the extra are there."""
    require_program("swtpm", "swtpm")
    require_library("tpm2_pytss", "tpm")
    _, document = kept
    shown = {
        (p["profile"], p["identity"], p["outcome"])
        for p in document["pledges"]
        if p["device"] == "tpm"
    }
    assert shown == {
        ("tpm2-p256", "asserted", "enrolled"),
        ("tpm2-p384", "carried", "enrolled"),
    }


def openssl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require_program("openssl", "openssl"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("device", ["SN-0001", "SN-0002", "SN-0004", "SN-0005", "SN-1000"])
@pytest.mark.parametrize(
    ("artifact", "anchor"),
    [
        ("pledge-voucher-request", "oem-root"),
        ("registrar-voucher-request", "owner-ca"),
        ("voucher", "masa"),
    ],
)
def test_openssl_verifies_the_messages(
    kept: tuple[Path, dict[str, Any]], device: str, artifact: str, anchor: str
) -> None:
    """Each under its own anchor; an asserting device's with the certificate that was fetched."""
    folder, _ = kept
    done = openssl(
        folder,
        *("cms", "-verify", "-inform", "DER", "-purpose", "any", "-out", "/dev/null"),
        *("-CAfile", f"anchors/{anchor}.pem", "-certfile", f"{device}/idevid.pem"),
        *("-in", f"{device}/{artifact}.cms"),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("device", ["SN-0001", "SN-0002", "SN-0004", "SN-0005", "SN-1000"])
def test_openssl_verifies_the_certificates(kept: tuple[Path, dict[str, Any]], device: str) -> None:
    """The IDevID to the OEM's root, the LDevID to the owner's; the CA file is the owner's too."""
    folder, _ = kept
    for certificate, anchor in (("idevid", "oem-root"), ("ldevid", "owner-ca")):
        path = f"{device}/{certificate}.pem"
        done = openssl(
            folder, "verify", "-CAfile", f"anchors/{anchor}.pem", "-untrusted", path, path
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_refused_leave_no_ldevid(kept: tuple[Path, dict[str, Any]]) -> None:
    """What came to exist is there, and nothing else."""
    folder, _ = kept
    assert not (folder / "SN-0003" / "ldevid.pem").exists()
    assert not (folder / "SN-0BAD" / "ldevid.pem").exists()
    assert (folder / "SN-0003" / "registrar-voucher-request.cms").exists()
    assert not (folder / "SN-0BAD" / "registrar-voucher-request.cms").exists()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    """Misuse, said at once, and nothing started."""
    (tmp_path / "mine").write_text("mine")
    ended = lab("--keep", tmp_path)
    assert ended.returncode == 2
    assert "not empty" in ended.stderr
