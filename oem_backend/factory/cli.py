"""brski-oem factory: the room without a network, from a terminal."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from brski.edge.atomic_file import read_file
from brski.edge.cli import print_json
from brski.edge.settings import load_settings
from brski.edge.signers.file import load_signer
from brski.errors import Unavailable
from brski.pki.signer import PublicKey
from brski.seed.recipient_key import HybridPublicKey
from oem_backend.executors.port import Executor
from oem_backend.factory.found import found_factory
from oem_backend.factory.intake import Keys, take_in
from oem_backend.factory.ledger import Ledger, open_ledger
from oem_backend.factory.line import Line, make_bundle
from oem_backend.factory.settings import FactoryFile, FactorySettings, PeerSettings
from oem_backend.public_keys import load_public_key

SettingsFile = Annotated[
    Path, typer.Option("--settings", "-s", help="The settings file, TOML.", show_default=True)
]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
_USUAL: Final = Path("factory.toml")


def factory_app(make_executor: Callable[[int | None], Executor]) -> typer.Typer:
    """The group of commands.

    Args:
        make_executor: called with the number of workers; how secrets are handled elsewhere is not
            for this room to know.
    """
    app = typer.Typer(
        name="factory",
        help="""The room without a network: seed batches in, certificates out.

        [bold]init[/bold] once; then [bold]intake[/bold] each batch of the silicon vendor, and
        [bold]make[/bold] a bundle of certificates from each build list of the assembly.""",
        no_args_is_help=True,
    )

    @app.command()
    def init(
        folder: Annotated[Path, typer.Argument(help="Where keys and settings go.")],
        name: Annotated[str, typer.Option(help="Of the factory, as the database knows it.")],
        title: Annotated[str, typer.Option(help="Of the OEM, in its CAs' names.")],
        masa_url: Annotated[str, typer.Option(help="For the IDevIDs: host or host:port.")],
        levels: Annotated[int, typer.Option(min=2, max=3, help="2: the root issues.")] = 3,
        algorithm: Annotated[str, typer.Option(help="P-256, P-384 or Ed25519.")] = "P-256",
        as_json: AsJSON = False,
    ) -> None:
        """Make the factory's keys, its PKI and its settings file."""
        now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - the edge reads the clock
        founded = found_factory(
            folder,
            name=name,
            title=title,
            masa_url=masa_url,
            levels=levels,
            algorithm=algorithm,
            created_at=now,
        )
        _tell(
            {
                "recipient_key_id": founded.recipient_key_id,
                "root_sha256": founded.root_sha256,
                "bundle_key_sha256": founded.bundle_key_sha256,
            },
            as_json,
        )

    @app.command()
    def intake(
        batch: Annotated[Path, typer.Argument(help="A seed batch, as the vendor made it.")],
        settings: SettingsFile = _USUAL,
        accept_gap: Annotated[
            bool, typer.Option("--accept-gap", help="Batches before it are missing; take it.")
        ] = False,
        as_json: AsJSON = False,
    ) -> None:
        """Take in a seed batch: verified whole, every record checked, or refused whole."""
        loaded = load_settings(settings, FactoryFile).factory
        with _at_work(loaded.store) as (ledger, progress):
            report = take_in(
                batch,
                vendors=_keys_of(loaded.vendor),
                keys=_keys(loaded),
                store=loaded.store,
                ledger=ledger,
                executor=make_executor(loaded.workers),
                accept_gap=accept_gap,
                progress=progress,
            )
        _tell(
            {
                "outcome": report.outcome.value,
                "batch": report.digest.hex(),
                "vendor": report.vendor_id,
                "product": report.product,
                "sequence": report.sequence,
                "records": report.records,
            },
            as_json,
        )

    @app.command()
    def make(
        build_list: Annotated[Path, typer.Argument(help="As the assembly signed it.")],
        out: Annotated[Path, typer.Option("--out", "-o", help="The bundle to be written.")],
        settings: SettingsFile = _USUAL,
        as_json: AsJSON = False,
    ) -> None:
        """Certify the devices of a build list. Cut off, it is taken up where it stopped."""
        loaded = load_settings(settings, FactoryFile).factory
        line = _line(loaded)
        with _at_work(loaded.store) as (ledger, progress):
            report = make_bundle(
                line,
                build_list,
                out,
                ledger=ledger,
                executor=make_executor(loaded.workers),
                progress=progress,
            )
        _tell(
            {
                "bundle": str(report.bundle),
                "digest": report.digest.hex(),
                "records": report.records,
                "generation": report.generation,
                "repeated": report.repeated,
            },
            as_json,
        )

    @app.command()
    def status(settings: SettingsFile = _USUAL, as_json: AsJSON = False) -> None:
        """How much is on record."""
        loaded = load_settings(settings, FactoryFile).factory
        with open_ledger(loaded.store / "ledger.db") as ledger:
            _tell(dict(ledger.summary()), as_json)

    return app


def _tell(document: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        typer.echo(f"{name:18} {value}")


def _keys_of(peers: Sequence[PeerSettings]) -> dict[str, PublicKey]:
    return {peer.name: load_public_key(peer.key) for peer in peers}


def _keys(loaded: FactorySettings) -> Keys:
    return Keys(
        recipient_key=loaded.recipient_key,
        recipient_key_id=HybridPublicKey.parse(read_file(loaded.recipient_public)).key_id,
        intake_key=loaded.intake_key,
    )


def _line(loaded: FactorySettings) -> Line:
    return Line(
        name=loaded.name,
        vendors=_keys_of(loaded.vendor),
        assemblers=_keys_of(loaded.assembler),
        keys=_keys(loaded),
        store=loaded.store,
        issuing=load_signer(loaded.issuing_key, loaded.issuing_chain, deterministic=True),
        bundling=load_signer(loaded.bundle_key, deterministic=True),
        masa_url=loaded.masa_url,
        hardware_module_type=loaded.hardware_module_type,
    )


@contextmanager
def _at_work(store: Path) -> Iterator[tuple[Ledger, Callable[[int, int], None]]]:
    """The ledger, for one operator at a time, and a bar on the terminal."""
    with _locked(store), open_ledger(store / "ledger.db") as ledger, _bar() as progress:
        yield ledger, progress


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """One operator at a time; the lock goes with the process."""
    store.mkdir(parents=True, exist_ok=True)
    with (store / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise Unavailable(f"another program works in {store} now") from err
        yield


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("chunks", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield progress
