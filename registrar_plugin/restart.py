"""Completes what an earlier run intended and did not finish, from the same octets."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from brski.errors import LDevIDRevoked, LocalError, Unavailable
from registrar_plugin.clerk import Clerk
from registrar_plugin.store.port import Intent, IntentKind, Journal
from registrar_plugin.telemetry.events import EventKind

log = logging.getLogger(__name__)

Completer: TypeAlias = Callable[[Intent], Awaitable[bool]]
"""Completes one intent; False while it has to stay open."""


async def complete_open_intents(
    journal: Journal, clerk: Clerk, completers: Mapping[IntentKind, Completer]
) -> None:
    """Before the first request: the oldest first; what cannot be completed now stays open.

    Args:
        completers: one for each kind; who signs that kind of object.
    """
    for intent in await journal.open_intents():
        try:
            is_complete = await completers[intent.kind](intent)
        except LDevIDRevoked as ended:
            log.warning("open intent ended", extra={"reason": str(ended)})
            continue
        except (Unavailable, LocalError) as kept:  # a CA that is silent, or was exchanged since
            log.warning("open intent kept", extra={"reason": str(kept)})
            continue
        if is_complete:
            details = {"intent": intent.kind.value}
            await journal.record(clerk.event(EventKind.RESTART, intent.device, details=details))
