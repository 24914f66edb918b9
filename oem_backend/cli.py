"""brski-oem: the manufacturer's programs, one group of commands for each of its rooms."""

from __future__ import annotations

from typing import Final

from brski.edge.cli import run
from oem_backend.check_samples import check_samples_command
from oem_backend.database import cli as database
from oem_backend.database.manifest_cli import manifest
from oem_backend.executors.processes import ProcessExecutor
from oem_backend.room import PROGRAM, make_app

app: Final = make_app()
app.add_typer(database.app, name="database")
app.command()(manifest)
app.command(name="check-samples")(check_samples_command(ProcessExecutor))


def main(argv: list[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        0 done, 1 refused, 2 misuse, 3 try again.
    """
    return run(app, argv, PROGRAM)
