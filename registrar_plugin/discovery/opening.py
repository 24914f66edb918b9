"""From the settings to what announces the registrar while it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from brski.edge.adapters import open_adapter
from brski.edge.serve import Beside
from registrar_plugin.discovery.port import GROUP, Announcer
from registrar_plugin.settings import DiscoverySettings


def announcement(settings: DiscoverySettings, *, source: Path, listener: str) -> Beside | None:
    """What :func:`brski.edge.serve.serve` does beside; None where nothing is to be announced.

    Args:
        source: the settings file.
        listener: the name of the one that pledges connect to.

    Raises:
        SettingsError: the extra is not installed, or its settings are at fault.
    """
    if not settings.mdns:
        return None
    table = {"kind": "mdns", "interfaces": settings.interfaces}
    if settings.name is not None:
        table["name"] = settings.name
    announcer: Announcer = open_adapter(GROUP, table, source=source, where="discovery")

    @asynccontextmanager
    async def beside(addresses: Mapping[str, str]) -> AsyncIterator[None]:
        host, _, port = addresses[listener].rpartition(":")
        async with announcer.announcing(host.strip("[]"), int(port)):
            yield

    return beside
