"""The import contracts catch what they are written for: each sees an import planted against it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = (
    "brski",
    "oem_backend",
    "masa_stub",
    "registrar_plugin",
    "device_client",
    "brski_lab",
)

# contract, file, line that breaks it
PLANTED = [
    ("language-stands-alone", "brski/errors.py", "import masa_stub"),
    ("language-layers", "brski/pki/der.py", "from brski.voucher import model"),
    ("language-layers", "brski/seed/profiles.py", "from brski.idevid import record"),
    ("roles-meet-on-the-wire", "masa_stub/issue.py", "import device_client"),
    ("roles-meet-on-the-wire", "device_client/onboard.py", "import registrar_plugin.registrar"),
    ("nobody-imports-the-lab", "registrar_plugin/registrar.py", "import brski_lab"),
    (
        "oem-database-readers",
        "registrar_plugin/registrar.py",
        "import oem_backend.database.reader",
    ),
    ("air-gap", "oem_backend/factory/line.py", "import socket"),
    ("air-gap", "oem_backend/factory/line.py", "import brski.edge.sql"),
    ("air-gap", "oem_backend/media/medium.py", "import socket"),
    ("air-gap", "oem_backend/factory/line.py", "import brski.edge.http.head"),
    ("air-gap", "brski/edge/sqlite.py", "import aiohttp"),  # two steps away from the factory
    ("seed-out-of-reach", "registrar_plugin/registrar.py", "import brski.seed.profiles"),
    ("seed-out-of-reach", "brski/voucher/rules.py", "import brski.seed.batch"),
    ("seed-out-of-reach", "device_client/identity/from_tpm.py", "import brski.seed.secret"),
    ("decisions-are-pure", "brski/voucher/rules.py", "import time"),
    ("decisions-are-pure", "masa_stub/issue.py", "import aiohttp"),
    ("decisions-are-pure", "brski/http_basic.py", "import aiohttp"),
    ("decisions-are-pure", "registrar_plugin/accounts/account.py", "import secrets"),
    ("language-layers", "brski/http_basic.py", "import brski.pki.der"),
    (
        "ports-know-no-adapter",
        "registrar_plugin/accounts/desk.py",
        "import registrar_plugin.accounts.book",
    ),
    ("decisions-know-no-edge", "registrar_plugin/identity/verify.py", "import brski.edge.sql"),
    ("decisions-are-pure", "registrar_plugin/ca_backend/crl.py", "import os"),
    (
        "ports-know-no-adapter",
        "registrar_plugin/registrar.py",
        "import registrar_plugin.store.sqlite",
    ),
    (
        "ports-know-no-adapter",
        "registrar_plugin/est_server/issuing.py",
        "import registrar_plugin.ca_backend.embedded",
    ),
    (
        "ports-know-no-adapter",
        "registrar_plugin/est_clients/certificates.py",
        "import registrar_plugin.store.sqlite_client_certificates",
    ),
    (
        "ports-know-no-adapter",
        "registrar_plugin/approval.py",
        "import registrar_plugin.store.sqlite_approvals",
    ),
    (
        "ports-know-no-adapter",
        "registrar_plugin/stored_vouchers/shelf.py",
        "import registrar_plugin.store.sqlite_vouchers",
    ),
    ("ports-know-no-adapter", "device_client/transport/port.py", "import brski.edge.signers.key"),
    (
        "ports-know-no-adapter",
        "registrar_plugin/revocation/keeper.py",
        "import registrar_plugin.ca_backend.embedded",
    ),
    (
        "the-seed-stays-in-the-tee",
        "device_client/identity/from_tee.py",
        "import device_client.identity.from_seed",
    ),
    ("decisions-are-pure", "device_client/identity/tee/judge.py", "import os"),
    ("one-door-to-tlslite", "device_client/onboard.py", "import tlslite.api"),
    (
        "adapters-know-their-port",
        "registrar_plugin/oem_source/http.py",
        "import registrar_plugin.oem_source.database",
    ),
    ("tss-in-one-room", "device_client/cli.py", "import device_client.tpm.connection"),
    ("token-adapter", "oem_backend/factory/line.py", "import pkcs11"),
    ("mdns-in-two-rooms", "device_client/onboard.py", "import zeroconf"),
    ("mdns-in-two-rooms", "registrar_plugin/server.py", "import registrar_plugin.discovery.mdns"),
    ("dask-in-one-room", "oem_backend/executors/processes.py", "import distributed"),
    ("asyncpg-in-one-room", "oem_backend/database/loader.py", "import asyncpg"),
    ("no-cycles", "brski/errors.py", "import brski.registry\nimport brski.pki.der"),
]


def _contracts() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {contract["id"] for contract in settings["tool"]["importlinter"]["contracts"]}


def _lint(folder: Path, contract: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--contract", contract, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_has_something_planted_against_it() -> None:
    """A contract that no test breaks could be one that cannot be broken."""
    assert {contract for contract, _, _ in PLANTED} == _contracts()


@pytest.mark.parametrize(
    ("contract", "file", "line"), PLANTED, ids=[f"{c}-{i}" for i, (c, _, _) in enumerate(PLANTED)]
)
def test_a_planted_import_is_caught(house: Path, contract: str, file: str, line: str) -> None:
    """The contract that is meant breaks, and it breaks for the planted line."""
    path = house / file
    path.write_text(path.read_text() + "\n" + line + "\n")
    result = _lint(house, contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


def test_the_house_keeps_its_contracts(house: Path) -> None:
    """Nothing planted, nothing broken: the nearest acceptance."""
    for contract in sorted(_contracts()):
        result = _lint(house, contract)
        assert result.returncode == 0, contract + result.stdout + result.stderr
