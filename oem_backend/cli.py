"""brski-oem: the manufacturer's programs, one group of commands for each of its rooms."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from brski.edge.cli import configure_logging, harden_process, run
from oem_backend.check_samples import check_samples_command
from oem_backend.database import cli as database
from oem_backend.database.manifest_cli import manifest
from oem_backend.executors.processes import ProcessExecutor
from oem_backend.factory.cli import factory_app, init
from oem_backend.factory.cli_demands import add_demand_commands
from oem_backend.factory.secret_cli import add_secret_commands
from oem_backend.factory.vault_cli import vault_app
from oem_backend.media import cli as media

PROGRAM: Final = "brski-oem"

app = typer.Typer(
    name=PROGRAM,
    help="""The manufacturer: its factory, a room without a network, and its database of devices.

    The factory's settings are in conf/factory.toml, the database's in conf/oem.toml.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.command()(init)
_factory = factory_app(ProcessExecutor)
add_demand_commands(_factory, ProcessExecutor)
app.add_typer(_factory, name="factory")
app.add_typer(vault_app(ProcessExecutor), name="vault")
add_secret_commands(app, ProcessExecutor)
app.add_typer(database.app, name="database")
app.add_typer(media.app, name="media")
app.command()(manifest)
app.command(name="check-samples")(check_samples_command(ProcessExecutor))


@app.callback()
def _every(
    debug: Annotated[bool, typer.Option("--debug", help="Log more, tracebacks too.")] = False,
) -> None:
    configure_logging(PROGRAM, debug=debug)
    harden_process()


def main(argv: list[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        0 done, 1 refused, 2 misuse, 3 try again.
    """
    return run(app, argv, PROGRAM)
