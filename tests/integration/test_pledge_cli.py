"""brski-pledge from a terminal."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from brski.idevid.record import Presentation
from brski.idevid.samples import parse_samples
from brski.pki.keys import encode_spki
from device_client.cli import main
from device_client.identity.from_seed import load_fuse, write_fuse
from device_client.pledge.states import Answer
from tests.kit import device, pki
from tests.kit.device import World
from tests.kit.stub_registrar import StubRegistrar

WORLD = World.make()
SETTINGS = """
registrars = ["https://127.0.0.1:1"]
[identity]
kind = "fuse"
file = "device.fuse"
[timing]
progress_s = 2
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    write_fuse(tmp_path / "device.fuse", device.make_fuse(WORLD.oem, WORLD.masa_root))
    path = tmp_path / "pledge.toml"
    path.write_text(SETTINGS)
    return path


async def pledge(*arguments: object) -> int:
    return await asyncio.to_thread(main, [str(argument) for argument in arguments])


async def test_from_factory_to_enrolled_and_back(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """show, onboard, show, onboard again, reset."""
    registrar = StubRegistrar(WORLD)

    async def shown() -> Any:
        assert await pledge("show", "-s", settings, "--json") == 0
        return json.loads(capsys.readouterr().out)

    assert (await shown())["state"] == "factory"
    async with registrar.serving():
        one = ("onboard", "-s", settings, "--registrar", registrar.origin)
        assert await pledge(*one, "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert await pledge(*one) == 0
        assert "does not bootstrap again" in capsys.readouterr().out
    assert (document["result"], document["code"]) == ("enrolled", "enrolled")
    assert document["identity"] == "asserted"
    assert [step["name"] for step in document["steps"]] == [
        "connect",
        "voucher-request",
        "voucher",
        "voucher-status",
        "cacerts",
        "csrattrs",
        "enroll",
        "enroll-status",
    ]
    after = await shown()
    assert after["state"] == "enrolled"
    assert after["registrar"] == str(registrar.origin)
    assert after["ldevid"][0]["sha256"] == document["ldevid_sha256"]
    assert await pledge("reset", "-s", settings, "--yes") == 0
    capsys.readouterr()
    assert (await shown())["state"] == "factory"


async def test_an_ldevid_is_renewed(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """renew, renew --rekey; before there is an LDevID it is misuse, and a refusal is one."""
    registrar = StubRegistrar(WORLD)
    assert await pledge("renew", "-s", settings) == 2
    assert "no LDevID to renew" in capsys.readouterr().err
    async with registrar.serving():
        assert await pledge("onboard", "-s", settings, "--registrar", registrar.origin) == 0
        capsys.readouterr()
        assert await pledge("renew", "-s", settings, "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert await pledge("renew", "-s", settings, "--rekey") == 0
        assert "enrolled (renewed)" in capsys.readouterr().out
        registrar.script("simplereenroll", Answer(status=403))
        assert await pledge("renew", "-s", settings, "--registrar", registrar.origin) == 1
    capsys.readouterr()
    assert await pledge("show", "-s", settings, "--json") == 0
    assert json.loads(capsys.readouterr().out)["renewal_begun"] == "same-key"
    assert await pledge("renew", "-s", settings) == 3
    assert document["code"] == "renewed"
    names = ["connect", "cacerts", "csrattrs", "enroll", "enroll-status"]
    assert [step["name"] for step in document["steps"]] == names


async def test_a_person_sees_each_step(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a step as it happens, and the end."""
    registrar = StubRegistrar(WORLD)
    async with registrar.serving():
        assert await pledge("onboard", "-s", settings, "--registrar", registrar.origin) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert lines[0].split()[:2] == ["connect", "ok"]
    assert lines[-1].startswith(f"{pki.SERIAL_NUMBER}: enrolled")
    assert await pledge("show", "-s", settings) == 0
    assert "trust anchors" in capsys.readouterr().out


async def test_a_sample_for_the_factorys_self_test(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that the OEM's parser takes: the digest of the key that the factory derives."""
    assert await pledge("sample", "-s", settings) == 0
    (sample,) = parse_samples(capsys.readouterr().out.encode())
    spki = encode_spki(device.derived_key().public_key())
    assert sample.serial_number == pki.SERIAL_NUMBER
    assert sample.spki_sha256 == hashlib.sha256(spki).digest()
    assert await pledge("show", "-s", settings, "--json") == 0
    assert json.loads(capsys.readouterr().out)["spki_sha256"] == sample.spki_sha256.hex()


@pytest.mark.parametrize(("answer", "code"), [(404, 1), (503, 3)])
async def test_exit_codes_tell_refusal_from_silence(
    settings: Path, capsys: pytest.CaptureFixture[str], answer: int, code: int
) -> None:
    """1 refused, 3 try again; the reason goes to stderr."""
    registrar = StubRegistrar(WORLD)
    registrar.script("requestvoucher", Answer(status=answer))
    async with registrar.serving():
        told = await pledge("onboard", "-s", settings, "--registrar", registrar.origin)
    assert told == code
    said = capsys.readouterr()
    assert said.err.startswith("brski-pledge: error: ")
    assert str(answer) in said.err


async def test_nobody_there_is_try_again(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The registrar of the settings does not listen."""
    assert await pledge("onboard", "-s", settings) == 3
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["onboard", "--registrar", "http://x"],
        ["onboard", "--registrar", "https://x/path"],
        ["onboard", "--nothing"],
        ["nothing"],
    ],
)
async def test_misuse(
    settings: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Exit code 2, one line and no traceback."""
    options = ["-s", str(settings)] if "onboard" in arguments else []
    assert await pledge(*arguments, *options) == 2
    said = capsys.readouterr().err
    assert said.startswith("brski-pledge: error: ")
    assert "Traceback" not in said


async def test_check_reads_the_identity_too(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fuse file that others may read is found before the device needs it."""
    assert await pledge("check", "-s", settings) == 0
    assert pki.SERIAL_NUMBER in capsys.readouterr().out
    (settings.parent / "device.fuse").chmod(0o644)
    assert await pledge("check", "-s", settings) == 2
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "discover", "onboard"])
async def test_a_way_of_discovery_that_is_not_there_is_told(
    settings: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """By its place in the file, with those that are; and without the table nobody is looked for."""
    if command == "discover":
        assert await pledge(command, "-s", settings) == 2
        assert "has no [discovery]" in capsys.readouterr().err
    settings.write_text(settings.read_text() + '[discovery]\nkind = "grasp"\n')
    assert await pledge(command, "-s", settings) == 2
    assert "discovery.kind is 'grasp'; installed are mdns" in capsys.readouterr().err


async def test_reset_asks(
    settings: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer nothing is deleted."""
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    monkeypatch.setattr("builtins.input", lambda *_: "n")
    assert await pledge("reset", "-s", settings) != 0
    assert not (settings.parent / "keystore").exists()


# -- fuse files


async def make(folder: Path, *more: object, **changes: object) -> int:
    seed = folder / "seed.bin"
    seed.touch(mode=0o600)
    seed.write_bytes(device.SEED)
    anchors = folder / "masa.pem"
    anchors.write_bytes(WORLD.masa_root.chain_pem)
    issuer = pki.key_identifier(WORLD.oem.private_key.public_key())
    options = {
        "--seed-file": seed,
        "--chip-id": device.CHIP_ID.hex(),
        "--serial-number": "SC-00001",
        "--idevid-issuer": issuer.hex(),
        "--voucher-anchors": anchors,
    } | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    pairs = [part for option in options.items() for part in option]
    return await pledge("make-fuse-file", folder / "made.fuse", *pairs, *more)


async def test_a_fuse_file_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same octets as the lab would write, mode 0600, and never over another."""
    assert await make(tmp_path) == 0
    path = tmp_path / "made.fuse"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_fuse(path) == device.make_fuse(WORLD.oem, WORLD.masa_root, "SC-00001")
    assert "asserts its serial number" in capsys.readouterr().out
    assert await make(tmp_path) == 2
    assert device.SEED.hex() not in capsys.readouterr().err


async def test_a_fuse_file_with_a_certificate_is_made(tmp_path: Path) -> None:
    """The chain has to be the derived key's."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes(device.make_idevid(WORLD.oem, "SC-00001").chain_pem)
    assert await make(tmp_path, "--certificates", chain) == 0
    carried = device.make_fuse(
        WORLD.oem, WORLD.masa_root, "SC-00001", presentation=Presentation.CARRIED
    )
    assert load_fuse(tmp_path / "made.fuse") == carried
    (tmp_path / "made.fuse").unlink()
    chain.write_bytes(device.make_idevid(WORLD.oem, "SC-00002").chain_pem)
    assert await make(tmp_path, "--certificates", chain) == 2
    assert not (tmp_path / "made.fuse").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"chip_id": "xyz"},
        {"chip_id": ""},
        {"serial_number": "a b"},
        {"idevid_issuer": "00"},
        {"profile": "md5"},
        {"masa_url": "ftp://x"},
    ],
)
async def test_a_value_out_of_bounds_makes_no_file(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    """Exit code 2, and nothing is written."""
    assert await make(tmp_path, **changes) == 2
    assert not (tmp_path / "made.fuse").exists()


async def test_a_seed_that_others_may_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would not be secret."""
    open_seed = tmp_path / "open.bin"
    open_seed.write_bytes(device.SEED)
    open_seed.chmod(0o644)
    assert await make(tmp_path, seed_file=open_seed) == 2
    assert "chmod 600" in capsys.readouterr().err
