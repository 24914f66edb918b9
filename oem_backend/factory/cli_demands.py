"""``brski-oem factory register`` and ``watch``: devices that are certified on demand."""

from __future__ import annotations

import logging
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from brski.edge.settings import load_settings
from brski.errors import SettingsError, Unavailable
from oem_backend.executors.port import Executor
from oem_backend.factory.cli import AsJSON, SettingsFile, at_work, line_of, tell
from oem_backend.factory.inbox import Inbox
from oem_backend.factory.line import Line
from oem_backend.factory.on_demand import Budget, Desk, register_list
from oem_backend.factory.settings import FactoryFile, FactorySettings
from oem_backend.factory.vault_use import using_vault

log = logging.getLogger(__name__)

_USUAL: Final = Path("factory.toml")
_WAITS: Final = "waits"  # of a demand that stays where it is


def add_demand_commands(app: typer.Typer, make_executor: Callable[[int | None], Executor]) -> None:
    """Add the commands to the factory's group.

    Args:
        make_executor: as for :func:`oem_backend.factory.cli.factory_app`.
    """

    @app.command()
    def register(
        build_list: Annotated[Path, typer.Argument(help="As the assembly signed it.")],
        settings: SettingsFile = _USUAL,
        as_json: AsJSON = False,
    ) -> None:
        """Put a build list on record; its devices are certified when somebody has met them."""
        loaded = load_settings(settings, FactoryFile).factory
        line = line_of(loaded, settings)
        with at_work(loaded.store) as (ledger, _):
            registered = register_list(line, build_list, ledger=ledger)
        tell(
            {
                "build_list": registered.build_list_digest,
                "generation": registered.generation,
                "records": registered.records,
                "repeated": registered.repeated,
            },
            as_json,
        )

    @app.command()
    def watch(
        settings: SettingsFile = _USUAL,
        once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
        as_json: AsJSON = False,
    ) -> None:
        """Answer demands as they come into the inbox, until SIGTERM or SIGINT."""
        loaded = load_settings(settings, FactoryFile).factory
        if loaded.on_demand is None:
            raise SettingsError("factory.on_demand: missing", hint="conf/factory.toml explains it")
        line = line_of(loaded, settings)
        executor = make_executor(loaded.workers)
        if once:
            tell(dict(_look(line, loaded, executor)), as_json)
            return
        _until_told(lambda: _look(line, loaded, executor), loaded.on_demand.poll_s)


def _look(line: Line, loaded: FactorySettings, executor: Executor) -> Counter[str]:
    """One look into the inbox: how many demands became what."""
    folders = loaded.on_demand
    if folders is None:
        return Counter()
    inbox = Inbox(folders.inbox)
    if not inbox.names():
        return Counter()
    budget = Budget(per_day=folders.per_day, per_device_and_day=folders.per_device_and_day)
    with (
        at_work(line.store) as (ledger, _),
        using_vault(loaded, executor, "on demand") as vault,
    ):
        desk = Desk(
            replace(line, vault=vault),
            folders.outbox,
            ledger=ledger,
            executor=executor,
            budget=budget,
            now_s=int(time.time()),
        )
        return Counter(outcome or _WAITS for _, outcome in desk.look(inbox))


def _until_told(look: Callable[[], Counter[str]], poll_s: float) -> None:
    """A signal ends the program where it is: whatever is cut off, the next look takes up."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    while True:
        try:
            look()
        except Unavailable as err:  # another command is at work, or the disk is full
            log.warning("no look at demands", extra={"reason": err.reason})
        time.sleep(poll_s)


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
