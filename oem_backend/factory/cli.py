"""brski-oem factory: the room without a network, from a terminal."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from brski.edge.adapters import open_adapter
from brski.edge.atomic_file import read_file
from brski.edge.cli import print_json, printable
from brski.edge.settings import load_settings
from brski.edge.signers.file import load_signer
from brski.edge.signers.public_key import load_public_key
from brski.errors import SettingsError, Unavailable
from brski.pki.signer import PublicKey
from brski.seed.cms_keys import CMSPublicKey
from brski.seed.recipient_key import HybridPublicKey
from oem_backend.executors.port import Executor
from oem_backend.factory.found import TokenPlace, found_factory
from oem_backend.factory.intake import Keys, take_in
from oem_backend.factory.ledger.file import Ledger, look_into_ledger, open_ledger
from oem_backend.factory.line import Line, MakeReport, make_bundles
from oem_backend.factory.pki import ALGORITHMS, ISSUING
from oem_backend.factory.settings import FactoryFile, FactorySettings, PeerSettings
from oem_backend.factory.vault_use import using_vault

log = logging.getLogger(__name__)

SettingsFile = Annotated[
    Path, typer.Option("--settings", "-s", help="The settings file, TOML.", show_default=True)
]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
_USUAL: Final = Path("factory.toml")
_SIGNERS: Final = "brski.signer"  # entry points
_EXECUTORS: Final = "brski.executor"
_SIGNING_KEYS: Final = "brski.signing_keys"
_SECOND: Final = "%Y-%m-%dT%H:%M:%SZ"


def factory_app(make_executor: Callable[[int | None], Executor]) -> typer.Typer:
    """The group of commands.

    Args:
        make_executor: called with the number of workers; how secrets are handled elsewhere is not
            for this room to know.
    """
    app = typer.Typer(
        name="factory",
        help="""The room without a network: seed batches in, certificates out.

        [bold]brski-oem init[/bold] once; then [bold]intake[/bold] each batch of the vendor, and
        [bold]make[/bold] bundles of certificates from each build list of the assembly.""",
        no_args_is_help=True,
    )

    app.command(hidden=True)(init)  # its name before there was brski-oem init

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
        executor = make_executor(loaded.workers)
        with (
            at_work(loaded.store) as (ledger, progress),
            using_vault(loaded, executor, "intake") as vault,
        ):
            report = take_in(
                batch,
                vendors=peer_keys(loaded.vendor),
                keys=worker_keys(loaded),
                store=loaded.store,
                ledger=ledger,
                executor=executor,
                accept_gap=accept_gap,
                progress=progress,
                vault=vault,
            )
        facts: dict[str, object] = {
            "outcome": report.outcome.value,
            "batch": report.digest,
            "vendor": report.vendor_id,
            "product": report.product,
            "sequence": report.sequence,
            "records": report.records,
        }
        log.info("seed batch", extra=facts)
        tell(facts, as_json)

    @app.command()
    def make(
        build_list: Annotated[Path, typer.Argument(help="As the assembly signed it.")],
        out: Annotated[
            Path,
            typer.Option("--out", "-o", help="The bundle, or a folder for one of each batch."),
        ],
        settings: SettingsFile = _USUAL,
        as_json: AsJSON = False,
    ) -> None:
        """Certify the devices of a build list. Cut off, it is taken up where it stopped."""
        loaded = load_settings(settings, FactoryFile).factory
        line = line_of(loaded, settings)
        began = time.monotonic()
        executor = _executor(loaded, settings, make_executor)
        with (
            at_work(loaded.store) as (ledger, progress),
            using_vault(loaded, executor, "make") as vault,
        ):
            report = make_bundles(
                replace(line, vault=vault),
                build_list,
                out,
                ledger=ledger,
                executor=executor,
                progress=progress,
            )
        _tell_made(report, time.monotonic() - began, as_json)

    @app.command()
    def status(settings: SettingsFile = _USUAL, as_json: AsJSON = False) -> None:
        """What is on record, also while a batch or a build list is at work."""
        loaded = load_settings(settings, FactoryFile).factory
        path = loaded.store / "ledger.db"
        if not path.is_file():
            raise Unavailable(
                f"there is no ledger at {path} yet", hint="the first intake or make begins it"
            )
        with look_into_ledger(path) as ledger:
            tell(ledger.summary(), as_json)

    return app


def init(
    folder: Annotated[Path, typer.Argument(help="Where keys and settings go.")],
    name: Annotated[str, typer.Option(help="Of the factory, as the database knows it.")],
    title: Annotated[str, typer.Option(help="Of the OEM, in its CAs' names.")],
    masa_url: Annotated[str, typer.Option(help="For the IDevIDs: host or host:port.")],
    levels: Annotated[int, typer.Option(min=2, max=3, help="2: the root issues.")] = 3,
    algorithm: Annotated[str, typer.Option(help=f"{', '.join(ALGORITHMS)}.")] = "P-256",
    created: Annotated[
        datetime | None,
        typer.Option(formats=[_SECOND], help="notBefore of the CAs, UTC; now if not given."),
    ] = None,
    module: Annotated[
        Path | None,
        typer.Option("--pkcs11-module", help="CA keys are made in a token of this library."),
    ] = None,
    token: Annotated[str, typer.Option("--pkcs11-token", help="The token's label.")] = "",
    pin_file: Annotated[
        Path | None, typer.Option("--pin-file", help="The token's PIN, mode 0600.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Make the OEM's PKI, the factory's keys and its settings file; once."""
    now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - the edge reads the clock
    founded = found_factory(
        folder,
        name=name,
        title=title,
        masa_url=masa_url,
        levels=levels,
        algorithm=algorithm,
        created_at=now if created is None else created.replace(tzinfo=UTC),
        token=_token_place(module, token, pin_file),
    )
    log.info("factory founded", extra={"factory": name, "root_sha256": founded.root_sha256})
    tell(
        {
            "recipient_key_id": founded.recipient_key_id,
            "root_sha256": founded.root_sha256,
            "issuing_sha256": founded.issuing_sha256,
            "bundle_key_sha256": founded.bundle_key_sha256,
        },
        as_json,
    )


def _token_place(module: Path | None, token: str, pin_file: Path | None) -> TokenPlace | None:
    if module is None and not token and pin_file is None:
        return None
    if module is None or not token or pin_file is None:
        raise SettingsError("a token takes all of --pkcs11-module, --pkcs11-token and --pin-file")
    table = {
        "kind": "pkcs11",
        "module": str(module.absolute()),
        "token": token,
        "pin_file": str(pin_file.absolute()),
    }
    keys = open_adapter(_SIGNING_KEYS, table, source=Path(), where="--pkcs11-module")
    return TokenPlace(keys=keys, table={**table, "label": ISSUING})


def _tell_made(report: MakeReport, seconds: float, as_json: bool) -> None:
    for bundle in report.bundles:
        log.info(
            "bundle written",
            extra={
                "build_list": report.build_list_digest,
                "bundle": bundle.digest,
                "batch": bundle.batch_digest,
                "records": bundle.records,
                "repeated": report.repeated,
            },
        )
    facts: dict[str, object] = {
        "build_list": report.build_list_digest,
        "generation": report.generation,
        "records": sum(bundle.records for bundle in report.bundles),
        "repeated": report.repeated,
        "certified": report.certified,
        "seconds": round(seconds, 3),
        "certificates_per_s": round(report.certified / seconds),
        "bundles": [
            {
                "bundle": str(bundle.path),
                "digest": bundle.digest.hex(),
                "batch": bundle.batch_digest.hex(),
                "records": bundle.records,
            }
            for bundle in report.bundles
        ],
    }
    tell(facts, as_json)


def tell(facts: dict[str, object], as_json: bool) -> None:
    """Print facts on stdout, as a JSON document or a line each; rows stand below their name."""
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if not isinstance(value, list):
            typer.echo(f"{name:22} {_shown(value)}")
            continue
        for row in value:
            typer.echo(f"{name}:")
            for inner, each in row.items():
                typer.echo(f"  {inner:20} {_shown(each)}")


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else printable(str(value))


def _executor(
    loaded: FactorySettings, source: Path, make_executor: Callable[[int | None], Executor]
) -> Executor:
    """Whom ``make`` has derive: the table's kind, or else processes of this machine."""
    if loaded.executor is None:
        return make_executor(loaded.workers)
    executor: Executor = open_adapter(
        _EXECUTORS, loaded.executor, source=source, where="factory.executor"
    )
    return executor


def peer_keys(peers: Sequence[PeerSettings]) -> dict[str, PublicKey]:
    """Whose signatures are taken, by name."""
    return {peer.name: load_public_key(peer.key) for peer in peers}


def worker_keys(loaded: FactorySettings) -> Keys:
    """Where workers find the keys that the settings name."""
    cms = loaded.cms_recipient_public
    return Keys(
        recipient_key=loaded.recipient_key,
        recipient_key_id=HybridPublicKey.parse(read_file(loaded.recipient_public)).key_id,
        intake_key=loaded.intake_key,
        cms_recipient_key=loaded.cms_recipient_key,
        cms_recipient_key_id=None if cms is None else CMSPublicKey(load_public_key(cms)).key_id,
        worker_keys=loaded.worker_keys,
    )


def line_of(loaded: FactorySettings, source: Path) -> Line:
    return Line(
        name=loaded.name,
        vendors=peer_keys(loaded.vendor),
        assemblers=peer_keys(loaded.assembler),
        keys=worker_keys(loaded),
        store=loaded.store,
        issuing=open_adapter(
            _SIGNERS, loaded.issuing_table, source=source, where="factory.issuing"
        ),
        bundling=load_signer(loaded.bundle_key, deterministic=True),
        masa_url=loaded.masa_url,
        hardware_module_type=loaded.hardware_module_type,
        issuing_key=_issuing_key_file(loaded, source),
        keep_batches=loaded.keep_batches,
    )


def _issuing_key_file(loaded: FactorySettings, source: Path) -> Path | None:
    """The file of the issuing key, for workers that certify; None where it is in none."""
    table = loaded.issuing_table
    return source.absolute().parent / str(table["key"]) if table["kind"] == "file" else None


@contextmanager
def at_work(store: Path) -> Iterator[tuple[Ledger, Callable[[int, int], None]]]:
    """The ledger, for one operator at a time, and a bar on the terminal."""
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(store), open_ledger(store / "ledger.db") as ledger, _bar() as progress:
        yield ledger, progress


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """One operator at a time; the lock goes with the process."""
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
