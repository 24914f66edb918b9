"""A factory with a vault, and what a test does with it through the program itself."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from brski.edge.settings import load_settings
from brski.seed.record import SeedRecord
from oem_backend import cli
from oem_backend.factory.settings import FactoryFile
from oem_backend.factory.vault.keeper import Vault, open_vault
from oem_backend.factory.vault_use import place_of
from tests.kit import factory
from tests.kit.factory import FactoryKit, InProcess

FILE_KIND = '\n[factory.vault]\nkind = "file"\nkey = "vault.key"\n'


def founded(folder: Path, table: str = FILE_KIND, **how: Any) -> FactoryKit:
    """A factory whose vault has been made."""
    kit = factory.found(folder, **how)
    with kit.settings.open("a") as settings:
        settings.write(table)
    assert oem(kit, "vault", "init")[0] == 0
    return kit


def oem(kit: FactoryKit, *arguments: str | Path) -> tuple[int, str, str]:
    """``brski-oem`` in this process: exit status, standard output and error."""
    out, err = io.TextIOWrapper(io.BytesIO(), "latin-1"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([*map(str, arguments), "-s", str(kit.settings)])
    out.flush()
    out.seek(0)
    return code, out.read(), err.getvalue()


def told(kit: FactoryKit, *arguments: str | Path) -> dict[str, Any]:
    """What the program tells with ``--json``."""
    code, out, err = oem(kit, *arguments, "--json")
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def filled(kit: FactoryKit, count: int = 6, *, records_a_chunk: int = 3) -> list[SeedRecord]:
    """Take a batch in and certify its chips."""
    records = factory.chips(count)
    batch, _ = kit.batch(records, records_a_chunk=records_a_chunk)
    told(kit, "factory", "intake", batch)
    built = kit.build_list(factory.serials(records))
    told(kit, "factory", "make", built, "-o", kit.folder / "bundle")
    return records


@contextmanager
def opened(kit: FactoryKit) -> Iterator[Vault]:
    """The vault, with its work done in this process."""
    with open_vault(place_of(load_settings(kit.settings, FactoryFile).factory), InProcess()) as v:
        yield v


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program does its workers' work in this process."""
    monkeypatch.setattr(
        "oem_backend.executors.processes.ProcessExecutor.map",
        lambda _, task, jobs: InProcess().map(task, jobs),
    )
