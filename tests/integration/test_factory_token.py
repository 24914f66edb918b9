"""The factory's program with its CA key in a token: killed, resumed, and who knows the token."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from brski.pki import cbor
from oem_backend.factory.work import SealedChunk, encode_derivation
from tests.integration.test_factory_kill import AT_WORK, PROGRAM
from tests.kit import factory
from tests.kit.factory import FactoryKit
from tests.kit.kill import Step, command
from tests.kit.programs import require_program
from tests.kit.softhsm import SoftHSM, softhsm

__all__ = ["softhsm"]


def founded(softhsm: SoftHSM, folder: Path) -> tuple[FactoryKit, dict[str, Any]]:
    """By ``brski-oem init``; peers are named as the kit has them."""
    address = softhsm.make_token()
    done = subprocess.run(
        command(
            *(PROGRAM, "init", folder, "--name", "factory-1"),
            *("--title", "Example OEM", "--masa-url", "masa.example.com", "--json"),
            *("--pkcs11-module", address.module, "--pkcs11-token", address.token),
            *("--pin-file", address.pin_file, "--created", "2026-02-03T04:05:06Z"),
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return factory.name_peers(folder), told


def oem(kit: FactoryKit, *arguments: str | Path, killed: Step | None = None) -> str:
    told = ("--json",) if killed is None else ()
    done = subprocess.run(
        command(PROGRAM, "factory", *arguments, "-s", kit.settings, *told, at=killed),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_was_on_record_when_it_was_killed_is_not_signed_anew(
    softhsm: SoftHSM, tmp_path: Path
) -> None:
    """The token's nonces are its own: only what is reused has the same octets afterwards."""
    kit, _ = founded(softhsm, tmp_path / "oem")
    records = factory.chips(6)
    built = kit.build_list(factory.serials(records))
    oem(kit, "intake", kit.batch(records, records_a_chunk=3)[0])
    out = tmp_path / "bundle"
    oem(kit, "make", built, "-o", out, killed=Step(AT_WORK, "keep_chunk", "after"))
    with kit.ledger() as ledger:
        number = ledger.lists.find(_digest(kit)).number  # type: ignore[union-attr]  # it was begun
        batch = ledger.batches.of_list(number)[0].number
        before = {
            made.serial_number: made.certificate for made in ledger.at_work.made(number, batch)
        }
    assert len(before) == 3
    assert json.loads(oem(kit, "make", built, "-o", out))["certified"] == 3
    after = {record.serial_number: record.certificate for record in kit.records("../bundle")}
    assert len(after) == 6
    assert before.items() <= after.items()
    first = out.read_bytes()
    oem(kit, "make", built, "-o", out)
    assert out.read_bytes() == first


def _digest(kit: FactoryKit) -> bytes:
    with kit.ledger() as ledger:
        rows: Any = ledger.summary()["unfinished"]
    return bytes.fromhex(rows[0]["build_list"])


@pytest.mark.slow
def test_init_tells_the_fingerprints_that_the_files_have(softhsm: SoftHSM, tmp_path: Path) -> None:
    """As openssl has them."""
    openssl = require_program("openssl", "openssl")
    _, told = founded(softhsm, tmp_path / "oem")
    for name, file in (("root_sha256", "root.pem"), ("issuing_sha256", "issuing-chain.pem")):
        done = subprocess.run(
            [
                openssl,
                "x509",
                "-noout",
                "-fingerprint",
                "-sha256",
                "-in",
                tmp_path / "oem" / file,
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip().partition("=")[2].replace(":", "").lower() == told[name]


def test_a_worker_is_told_nothing_of_the_token() -> None:
    """What a job holds, item by item: no module, no PIN, no key but the recipient's path."""
    chunk = SealedChunk(header=b"h", index=0, sealed=b"s", recipient_key=Path("/recipient.key"))
    job = cbor.decode(encode_derivation(chunk, bytes(32), [b"chip"], prove=True))
    assert job == [b"h", 0, b"s", "/recipient.key", bytes(32), [b"chip"], True]


def test_a_token_takes_all_three_options(tmp_path: Path) -> None:
    """Half of them is a mistake, not a factory with keys in files."""
    done = subprocess.run(
        command(
            *(PROGRAM, "init", tmp_path / "oem", "--name", "factory-1"),
            *("--title", "Example OEM", "--masa-url", "masa.example.com"),
            *("--pkcs11-token", "oem"),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--pin-file" in done.stderr
    assert not (tmp_path / "oem").exists()
