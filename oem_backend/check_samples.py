"""``brski-oem check-samples``: do the devices have the keys that the OEM certified?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import typer

from brski.edge.atomic_file import read_file
from brski.edge.cli import REFUSED, print_json, printable
from brski.edge.settings import load_settings
from brski.edge.signers.file import load_signer
from brski.errors import PeerError, Unavailable
from brski.idevid.samples import (
    MOST_OCTETS,
    BatchSamples,
    Cause,
    Compared,
    Sample,
    parse_samples,
)
from oem_backend.database.opening import as_place, open_reader
from oem_backend.database.port import Place
from oem_backend.database.samples import check_samples as check_by_records
from oem_backend.executors.port import Executor
from oem_backend.factory.cli import peer_keys, worker_keys
from oem_backend.factory.ledger.file import look_into_ledger
from oem_backend.factory.samples import CheckedBatch, Shelf, check_samples
from oem_backend.factory.settings import FactoryFile, FactorySettings

log = logging.getLogger(__name__)

_USUAL: Final = Path("factory.toml")
_SAID: Final = {
    Cause.RIGHT_KEY: "the device is right, its certificate is for another key",
    Cause.WRONG_PROFILE: "wrong profile: this is the key of {}",
    Cause.ALL_ZERO_SEED: "the key of an all-zero seed",
    Cause.ALL_ONE_SEED: "the key of an all-one seed",
    Cause.REVERSED_SEED: "the key of the seed with its octets reversed",
    Cause.SWAPPED_IDENTITY: "swapped: this is the key of {}",
    Cause.SWAPPED_SEED: "swapped: the key of {}'s seed under this chip id",
    Cause.SWAPPED_CHIP_ID: "swapped: the key of this seed under {}'s chip id",
    Cause.UNEXPLAINED: "the key of nothing that was tried",
    Cause.MATCHING: "every key as it should be",
    Cause.MIXED: "several causes",
}


def check_samples_command(
    make_executor: Callable[[int | None], Executor],
) -> Callable[[Path, Path, Path | None, bool], int | None]:
    """The command.

    Args:
        make_executor: called with the number of workers, as for the factory.
    """

    def command(
        samples: Annotated[Path, typer.Argument(help="Lines: serial number, SHA-256 of the key.")],
        settings: Annotated[
            Path, typer.Option("--settings", "-s", help="The factory's settings file, TOML.")
        ] = _USUAL,
        database: Annotated[
            Path | None, typer.Option(help="Compare with this OEM database, without the factory.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    ) -> int | None:
        """Compare keys that sample devices report with those that were certified; say which batch
        differs, and why.

        In the factory, seeds are tried in workers: another profile, an all-zero seed, another
        chip's. With [bold]--database[/bold] only public records are compared.
        """
        listed = _load(samples)
        if database is not None:
            batches, unknown = _in_database(listed, as_place(database))
        else:
            loaded = load_settings(settings, FactoryFile).factory
            batches, unknown = _in_factory(listed, loaded, make_executor(loaded.workers))
        differing = sum(len(samples.differing) for _, samples in batches)
        facts = {"samples": len(listed), "differing": differing, "unknown": len(unknown)}
        log.info("samples checked", extra=facts)
        if as_json:
            print_json(_document(len(listed), batches, unknown))
        else:
            _tell(batches, unknown)
        return REFUSED if differing or unknown else None

    return command


def _load(path: Path) -> tuple[Sample, ...]:
    try:
        return parse_samples(read_file(path, max_octets=MOST_OCTETS))
    except PeerError as err:
        raise type(err)(f"{path}: {err.reason}", hint=err.hint) from err


_Batches = Sequence[tuple[CheckedBatch | None, BatchSamples]]


def _in_factory(
    samples: Sequence[Sample], loaded: FactorySettings, executor: Executor
) -> tuple[_Batches, tuple[str, ...]]:
    ledger_path = loaded.store / "ledger.db"
    if not ledger_path.is_file():
        raise Unavailable(f"there is no ledger at {ledger_path} yet")
    shelf = Shelf(
        store=loaded.store,
        keys=worker_keys(loaded),
        vendors=peer_keys(loaded.vendor),
        factories={loaded.name: load_signer(loaded.bundle_key).public_key},
    )
    with look_into_ledger(ledger_path) as ledger:
        checked, unknown = check_samples(samples, shelf, ledger=ledger, executor=executor)
    return [(batch, batch.samples) for batch in checked], unknown


def _in_database(samples: Sequence[Sample], place: Place) -> tuple[_Batches, tuple[str, ...]]:
    with closing(open_reader(place)) as reader:
        batches, unknown = check_by_records(samples, reader)
    return [(None, batch) for batch in batches], unknown


# -- what is told


def _document(count: int, batches: _Batches, unknown: Sequence[str]) -> dict[str, object]:
    differing = sum(len(samples.differing) for _, samples in batches)
    return {
        "samples": count,
        "matching": count - differing - len(unknown),
        "batches": [_batch_document(checked, samples) for checked, samples in batches],
        "unknown": list(unknown),
    }


def _batch_document(checked: CheckedBatch | None, samples: BatchSamples) -> dict[str, object]:
    origin: dict[str, object] = {}
    if checked is not None:
        taken = checked.taken
        origin = {
            "vendor": taken.vendor_id,
            "product": taken.product,
            "sequence": taken.sequence,
        }
    return {
        "batch": samples.batch_digest,
        **origin,
        "profile": samples.derivation_profile,
        "samples": len(samples.compared),
        "matching": len(samples.compared) - len(samples.differing),
        "cause": samples.cause,
        "differing": [
            {
                "serial_number": each.sample.serial_number,
                "reported": each.sample.spki_sha256,
                "cause": each.cause,
                "detail": each.detail,
            }
            for each in samples.differing
        ],
    }


def _tell(batches: _Batches, unknown: Sequence[str]) -> None:
    for checked, samples in batches:
        differing = samples.differing
        verdict = (
            f"{len(samples.compared)} as they should be"
            if not differing
            else f"{len(differing)} of {len(samples.compared)} DIFFER: {samples.cause}"
        )
        typer.echo(f"batch {_called(checked, samples)}: {verdict}")
        for each in differing:
            typer.echo(f"  {printable(each.sample.serial_number)}  {_explained(each)}")
    for serial_number in unknown:
        typer.echo(f"unknown serial number: {printable(serial_number)}")


def _called(checked: CheckedBatch | None, samples: BatchSamples) -> str:
    name = samples.batch_digest.hex()
    if checked is None:
        return f"{name} ({samples.derivation_profile})"
    taken = checked.taken
    place = f"{taken.vendor_id}/{taken.product}/{taken.sequence}"
    return f"{printable(place)} ({samples.derivation_profile}, {name})"


def _explained(compared: Compared) -> str:
    said = _SAID[compared.cause].format(printable(compared.detail))
    blank = compared.cause in (Cause.ALL_ZERO_SEED, Cause.ALL_ONE_SEED, Cause.REVERSED_SEED)
    return f"{said}, in the profile {compared.detail}" if blank and compared.detail else said
