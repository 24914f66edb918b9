"""The vault that a factory's settings name, opened for one command."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from brski.errors import SettingsError, StateError
from brski.seed.vault_log import Head, Header, Use
from oem_backend.executors.port import Executor
from oem_backend.factory.settings import FactorySettings
from oem_backend.factory.vault.check import check_log
from oem_backend.factory.vault.database import open_database
from oem_backend.factory.vault.keeper import VaultPlace, VaultUse, Who, open_vault
from oem_backend.factory.vault.witness import read_witness


def place_of(loaded: FactorySettings) -> VaultPlace:
    """Where the vault is.

    Raises:
        SettingsError: the policy is to have none.
    """
    if loaded.vault.kind == "none":
        raise SettingsError(
            "this factory keeps no vault", hint="[factory.vault] in its settings; docs/vault.md"
        )
    return VaultPlace(
        folder=loaded.vault.folder, witness=loaded.vault.witness, source=loaded.vault.source
    )


def status_of(loaded: FactorySettings) -> dict[str, object]:
    """What is in the vault, also while a command is at work in it; no key is needed.

    Raises:
        SettingsError: there is none by policy.
        StateError: none was made, or it is an older copy.
    """
    place = place_of(loaded)
    seen = read_witness(place.witness)
    with open_database(place.database, read_only=True) as database:
        header = database.header()
        octets, mac, previous = database.head()
        if header is None or seen.mac not in (mac, previous):
            raise StateError("the vault is not the one that its witness has seen last")
        head = Head.parse(octets)
        batches = [{"batch": digest.hex(), "records": n} for digest, n in database.counts()]
    return {
        "vault": head.vault_id,
        "kind": Header.parse(header[0]).kind.value,
        "counter": head.counter,
        "records": head.records,
        "log_entries": head.entries,
        "batches": batches,
    }


def log_of(loaded: FactorySettings) -> list[dict[str, object]]:
    """Every use of the vault; the chain is verified, which needs no key.

    Raises:
        SettingsError: there is none by policy.
        StateError: none was made, or the log was altered.
    """
    with open_database(place_of(loaded).database, read_only=True) as database:
        head = Head.parse(database.head()[0])
        check_log(database, head)
        return [_row(*Use.parse(entry)) for _, entry, _ in database.uses()]


def _row(number: int, use: Use) -> dict[str, object]:
    return {
        "number": number,
        "at": datetime.fromtimestamp(use.at, UTC),
        "operator": use.operator,
        "action": use.action.value,
        "subject": use.subject,
        "records": use.records,
        "reason": use.reason,
    }


def who(operator: str | None, reason: str) -> Who:
    """Who uses the vault, now; the login name where no operator is told."""
    return Who(operator=operator or _login_name(), at=int(time.time()), reason=reason)


@contextmanager
def using_vault(
    loaded: FactorySettings, executor: Executor, reason: str
) -> Iterator[VaultUse | None]:
    """The vault for a command that has many workers; None where the policy is to have none.

    Raises:
        SettingsError: a passphrase that each of them would have to ask for.
        StateError, Unavailable: as :func:`oem_backend.factory.vault.keeper.open_vault`.
    """
    if loaded.vault.kind == "none":
        yield None
        return
    if loaded.vault.kind == "passphrase" and loaded.vault.passphrase_file is None:
        raise SettingsError(
            f"{reason} has many workers that need the passphrase", hint="name a passphrase_file"
        )
    with open_vault(place_of(loaded), executor) as vault:
        yield VaultUse(vault=vault, who=who(None, reason))


def _login_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
