"""On demand, beside the service: questions become demands, answers become records.

Both happen behind the registrar's back: its answer does not wait, and does not tell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from brski.errors import OnboardingError
from brski.idevid.demand import Demand
from brski.pki.signer import PublicKey
from oem_backend.database.answers import load_answers
from oem_backend.database.demands import Asked, DemandBook
from oem_backend.database.port import Place, Records
from oem_backend.database.query import Question
from oem_backend.database.registrars import RegistrarName

log = logging.getLogger(__name__)
audit = logging.getLogger("oem_backend.database.audit")

_AT_ONCE: Final = 64  # questions being written down; of more, the device's next attempt counts


class DemandDesk:
    """Writes demands down, one after the other.

    Args:
        clock: aware UTC.
    """

    def __init__(self, book: DemandBook, records: Records, clock: Callable[[], datetime]) -> None:
        self._book = book
        self._records = records
        self._clock = clock
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, question: Question, registrar: RegistrarName) -> None:
        """Take down a question for a device that is not on record; returns at once."""
        if question.spki_sha256 is None or len(self._writing) >= _AT_ONCE:
            return
        demand = Demand(serial_number=question.serial_number, spki_sha256=question.spki_sha256)
        task = asyncio.create_task(self._take_down(demand, registrar))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _take_down(self, demand: Demand, registrar: RegistrarName) -> None:
        try:
            if await self._records.find(None, demand.serial_number):
                return  # of another issuer, or come in between
            now_s = int(self._clock().timestamp())
            outcome = await asyncio.to_thread(
                self._book.demand, demand, registrar.spki_sha256, now_s=now_s
            )
        except OnboardingError as err:
            log.error("demand not written", extra={"reason": err.reason})  # noqa: TRY400 - a line, no traceback
            return
        if outcome is Asked.BEFORE:
            return
        audit.info(
            "device demanded",
            extra={
                "serial_number": demand.serial_number,
                "registrar": registrar.subject,
                "registrar_sha256": registrar.certificate_sha256.hex(),
                "outcome": outcome.value,
            },
        )

    async def close(self) -> None:
        """Let what is being written end."""
        await asyncio.gather(*self._writing)


@asynccontextmanager
async def taking_answers(
    database: Place,
    folder: Path,
    factories: Mapping[str, PublicKey],
    *,
    poll_s: float,
    clock: Callable[[], datetime],
) -> AsyncIterator[None]:
    """Load what the factory answers while the block runs; one look at a time, in a thread."""

    async def look_again_and_again() -> None:
        while True:
            await asyncio.to_thread(_look, database, folder, factories, clock())
            await asyncio.sleep(poll_s)

    task = asyncio.create_task(look_again_and_again())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _look(database: Place, folder: Path, factories: Mapping[str, PublicKey], now: datetime) -> None:
    try:
        for _ in load_answers(database, folder, factories, now=now):
            pass
    except OnboardingError as err:  # it stays where it is, and comes again
        log.error("answers not loaded", extra={"reason": err.reason})  # noqa: TRY400 - a line, no traceback
