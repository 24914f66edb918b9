"""``brski-oem factory register`` and ``watch``: devices that are certified on demand."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
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
from oem_backend.factory.ledger.waiting import DemandOutcome
from oem_backend.factory.line import Line
from oem_backend.factory.on_demand import Budget, Desk, register_list
from oem_backend.factory.settings import FactoryFile, FactorySettings, OnDemandSettings
from oem_backend.factory.vault_use import using_vault

log = logging.getLogger(__name__)

_USUAL: Final = Path("factory.toml")
_AGAIN_S: Final = 60.0  # so long one that waits is not tried again
_LOOK_S: Final = 2.0  # so long one look holds the store; then others find their turn
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
        watcher = _Watcher(line, loaded, loaded.on_demand, executor)
        if once:
            tell(dict(watcher.look()), as_json)
            return
        _until_told(lambda: watcher.look(at_most_s=_LOOK_S), loaded.on_demand.poll_s)


class _Watcher:
    """Looks into the inbox; a demand that could not be answered is left alone for a while."""

    def __init__(
        self, line: Line, loaded: FactorySettings, folders: OnDemandSettings, executor: Executor
    ) -> None:
        self._line = line
        self._loaded = loaded
        self._folders = folders
        self._executor = executor
        self._left: dict[str, float] = {}  # until when, by file name

    def look(self, *, at_most_s: float = math.inf) -> Counter[str]:
        """One look: how many demands became what.

        Args:
            at_most_s: no other demand is begun after so long; it is the next look's.
        """
        inbox = Inbox(self._folders.inbox)
        at = time.monotonic()
        there = inbox.names()
        self._left = {name: self._left[name] for name in there if self._left.get(name, at) > at}
        if len(self._left) == len(there):
            return Counter()
        with (
            at_work(self._line.store) as (ledger, _),
            using_vault(self._loaded, self._executor, "on demand") as vault,
        ):
            desk = Desk(
                replace(self._line, vault=vault),
                self._folders.outbox,
                ledger=ledger,
                executor=self._executor,
                budget=Budget(
                    per_day=self._folders.per_day,
                    per_device_and_day=self._folders.per_device_and_day,
                ),
                now_s=int(time.time()),
            )
            return self._counted(desk.look(inbox, leaving=frozenset(self._left)), at + at_most_s)

    def _counted(
        self, dealt_with: Iterable[tuple[str, DemandOutcome | None]], until: float
    ) -> Counter[str]:
        counts: Counter[str] = Counter()
        for name, outcome in dealt_with:
            counts[outcome or _WAITS] += 1
            now = time.monotonic()
            if outcome is None:
                self._left[name] = now + _AGAIN_S
            if now > until:
                break
        return counts


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
