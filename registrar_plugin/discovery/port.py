"""The port to whatever announces a registrar in its network."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

GROUP: Final = "brski.registrar_announcer"  # of entry points


class Announcer(Protocol):
    """Announces."""

    def announcing(self, host: str, port: int) -> AbstractAsyncContextManager[None]:
        """Say that a registrar takes connections there, while the block runs; then take it back.

        Args:
            host: the address that is listened on; an unspecified one means all of the machine's.
            port: the TCP port that is really listened on.

        Raises:
            SettingsError: it cannot be announced; the reason says why.
        """
