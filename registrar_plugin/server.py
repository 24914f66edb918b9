"""The plugin as a server of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from brski.edge.accept import AddressCap
from brski.edge.serve import Listener, serve
from brski.rates import subnet_of
from registrar_plugin.composition import MountableRegistrar, open_registrar
from registrar_plugin.discovery.opening import announcement
from registrar_plugin.health.web import add_health, healthy
from registrar_plugin.plugin import setup
from registrar_plugin.revocation.web import PublishedList
from registrar_plugin.settings import ListenSettings, RegistrarSettings


async def serve_registrar(
    settings: RegistrarSettings, *, source: Path, announce: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        source: the settings file.
        announce: print the address as one line of JSON once the listener is open.

    Raises:
        LocalError: a key, file or address that cannot be used.
        Unavailable: a disk that fails.
    """
    registrar = open_registrar(settings, source=source)
    await serve(
        listeners_of(registrar, settings.listen),
        announce=announce,
        beside=announcement(settings.discovery, source=source, listener="pledges"),
    )


def listeners_of(registrar: MountableRegistrar, listen: ListenSettings) -> list[Listener]:
    """Where pledges connect, and where operators do if they have a place."""
    listeners = [_for_pledges(registrar, listen)]
    if listen.management is not None:
        listeners.append(_for_operators(registrar, listen.management))
    return listeners + _for_relying_parties(registrar.crls, listen)


def _for_pledges(registrar: MountableRegistrar, listen: ListenSettings) -> Listener:
    app = web.Application()
    app.router.add_get("/healthz", healthy)
    setup(app, registrar)
    return Listener(
        name="pledges",
        app=app,
        listen=listen.pledges,
        ssl_context=registrar.ssl_context(),
        cap=_cap(listen),
    )


def _for_relying_parties(crls: Mapping[str, PublishedList], caps: ListenSettings) -> list[Listener]:
    """Plain HTTP, for who checks certificates: nothing there but the signed lists. Those of one
    address share a listener, which has the name of the first.
    """
    opened: dict[str, Listener] = {}
    for name, crl in crls.items():
        if crl.listen is None:
            continue
        if crl.listen not in opened:
            opened[crl.listen] = Listener(
                name=name,
                app=web.Application(),
                listen=crl.listen,
                ssl_context=None,
                cap=_cap(caps),
            )
        crl.mount(opened[crl.listen].app)
    return list(opened.values())


def _cap(listen: ListenSettings) -> AddressCap:
    return AddressCap(connections=listen.connections_per_address, group=subnet_of)


def _for_operators(registrar: MountableRegistrar, listen: str) -> Listener:
    app = web.Application()
    add_health(app, registrar.readiness)
    return Listener(name="management", app=app, listen=listen, ssl_context=None)
