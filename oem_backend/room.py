"""brski-oem as far as it goes in the room without a network: init, factory, vault and media.

:mod:`oem_backend.cli` adds the rooms that have one. Run by itself it loads neither TLS nor
event loop nor web framework.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from brski.edge.cli import configure_logging, harden_process, run
from oem_backend.executors.processes import ProcessExecutor
from oem_backend.factory.cli import factory_app, init
from oem_backend.factory.cli_demands import add_demand_commands
from oem_backend.factory.secret_cli import add_secret_commands
from oem_backend.factory.vault_cli import vault_app
from oem_backend.media import cli as media

PROGRAM: Final = "brski-oem"


def make_app() -> typer.Typer:
    """The commands of this room, for others to be added to."""
    app = typer.Typer(
        name=PROGRAM,
        help="""The manufacturer: its factory, a room without a network, and its device database.

        The factory's settings are in conf/factory.toml, the database's in conf/oem.toml.""",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    app.callback()(_every)
    app.command()(init)
    factory = factory_app(ProcessExecutor)
    add_demand_commands(factory, ProcessExecutor)
    app.add_typer(factory, name="factory")
    app.add_typer(vault_app(ProcessExecutor), name="vault")
    add_secret_commands(app, ProcessExecutor)
    app.add_typer(media.app, name="media")
    return app


def _every(
    debug: Annotated[bool, typer.Option("--debug", help="Log more, tracebacks too.")] = False,
) -> None:
    configure_logging(PROGRAM, debug=debug)
    harden_process()


def main(argv: list[str] | None = None) -> int:
    """Run the room's part of the program; see :func:`oem_backend.cli.main`."""
    return run(make_app(), argv, PROGRAM)
