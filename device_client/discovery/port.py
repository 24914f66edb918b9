"""The port to whatever hears of registrars. What it hears anybody may have said: an address to try,
and no more.
"""

from __future__ import annotations

from typing import Final, Protocol

from device_client.pledge.origin import Origin

GROUP: Final = "brski.registrar_discovery"  # of entry points
FOUND_LIMIT: Final = 32  # ours: places that one look brings


class Discovery(Protocol):
    """Listens for offers."""

    async def look(self) -> tuple[Origin, ...]:
        """Listen for a while, of bounded time and memory, and say where registrars or proxies are.

        Returns:
            At most :data:`FOUND_LIMIT` places, each once; empty where nobody offers anything. Of
            more offers a random choice, so that none can be drowned out for good.

        Raises:
            Unavailable: there is no network to listen to.
        """
