"""brski-masa: the manufacturer's voice, for laboratories and tests."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from brski.edge.cli import configure_logging, harden_process, run
from brski.edge.serve import run_loop
from brski.edge.settings import load_settings
from brski.errors import SettingsError
from masa_stub import sales_cli
from masa_stub.app import serve_masa
from masa_stub.faults.plan import FaultPlan, parse_rates
from masa_stub.settings import MASASettings

PROGRAM: Final = "brski-masa"

app = typer.Typer(
    name=PROGRAM,
    help="""The manufacturer's voice: answers registrars' voucher-requests (RFC 8995 §5.5 to §5.8).

    For laboratories and tests. It verifies everything that a MASA must verify, keeps its audit log
    on disk, and can be made to refuse. Start with conf/masa.toml. To whom a device is sold is told
    by sold, released and withheld. What was issued and refused is told by the management listener:
    GET /v1/vouchers, GET /v1/vouchers/SERIAL, POST /v1/reset.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.callback()
def _every(
    debug: Annotated[bool, typer.Option("--debug", help="Log more, tracebacks too.")] = False,
) -> None:
    configure_logging(PROGRAM, debug=debug)
    harden_process()


@app.command()
def serve(
    settings: Annotated[
        Path, typer.Option("--settings", "-s", help="The settings file, TOML.")
    ] = Path("masa.toml"),
    listen: Annotated[
        str | None, typer.Option(help='Instead of listen.registrars: "host:port" or "fd:N".')
    ] = None,
    manage: Annotated[
        str | None, typer.Option(help='Instead of listen.management: "host:port" or "fd:N".')
    ] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="Let the management listener arm faults.")
    ] = False,
    chaos: Annotated[
        str | None,
        typer.Option(help="Misbehave by rates: retry-after=10%,503=5%. Implies --faults."),
    ] = None,
    seed: Annotated[
        str | None, typer.Option(help="Of --chaos; a run with the same one is the same.")
    ] = None,
    announce: Annotated[
        bool, typer.Option(help="Print the addresses as one JSON line once they are open.")
    ] = False,
) -> None:
    """Answer registrars until SIGTERM or SIGINT."""
    loaded = load_settings(settings, MASASettings)
    update = {
        name: value
        for name, value in (("registrars", listen), ("management", manage))
        if value is not None
    }
    listening = loaded.listen.model_copy(update=update)
    plan = fault_plan(faults=faults, chaos=chaos, seed=seed)
    run_loop(
        serve_masa(loaded.model_copy(update={"listen": listening}), announce=announce, plan=plan)
    )


def fault_plan(*, faults: bool, chaos: str | None, seed: str | None) -> FaultPlan | None:
    """How to misbehave, by the command line; None for not at all.

    Raises:
        SettingsError: rates that are none, or a seed for nothing.
    """
    if not faults and chaos is None:
        if seed is not None:
            raise SettingsError("--seed is nothing without --chaos or --faults")
        return None
    rates = () if chaos is None else parse_rates(chaos)
    return FaultPlan(seed if seed is not None else secrets.token_hex(8), rates)


@app.command()
def check(
    settings: Annotated[
        Path, typer.Option("--settings", "-s", help="The settings file, TOML.")
    ] = Path("masa.toml"),
) -> None:
    """Read the settings and say every fault at once."""
    load_settings(settings, MASASettings)
    typer.echo(f"{settings}: good")


for command in sales_cli.COMMANDS:
    app.command()(command)


def main(argv: list[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        0 done, 1 refused, 2 misuse, 3 try again.
    """
    return run(app, argv, PROGRAM)
