"""``brski-oem database mark`` and ``marks``: what a person says of a device, a chunk or a batch."""

from __future__ import annotations

import os
import pwd
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from brski.edge.cli import print_json
from brski.idevid.record import check_token
from oem_backend.database.cli_common import (
    USUAL,
    AsJSON,
    Issuer,
    SettingsFile,
    ambiguous,
    device_document,
    find,
    mark_line,
    misuse,
    now,
    settings_of,
)
from oem_backend.database.marks import (
    Subject,
    Verdict,
    add_mark,
    batch_subject,
    check_name,
    device_subject,
)
from oem_backend.database.opening import open_reader
from oem_backend.database.reader import Reader

Batch = Annotated[
    str | None, typer.Option(help="Batch digest, 64 hex digits, as [bold]show[/bold] tells it.")
]


def mark(
    reason: Annotated[str, typer.Option(help='A token: "stolen", "seed-leak".')],
    serial_number: Annotated[str | None, typer.Argument(help="Of the device.")] = None,
    settings: SettingsFile = USUAL,
    revoked: Annotated[bool, typer.Option("--revoked", help="To be refused for ever.")] = False,
    flagged: Annotated[bool, typer.Option("--flagged", help="To be refused for now.")] = False,
    lifted: Annotated[
        bool, typer.Option("--lifted", help="What was said of it before counts no more.")
    ] = False,
    issuer: Issuer = None,
    batch: Batch = None,
    chunk: Annotated[int | None, typer.Option(min=0, help="Only this chunk of the batch.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so; else this account's name.")] = None,
    as_json: AsJSON = False,
) -> int | None:
    """Mark a device (its key, whatever certificate it gets later), a seed batch or a chunk of one.

    From then on it is refused: by the MASA at once, by registrars within a minute. A batch can be
    marked before a bundle of it is loaded. Nothing is ever erased: --lifted is one more entry.
    """
    verdict = _verdict(revoked=revoked, flagged=flagged, lifted=lifted)
    who = by if by is not None else pwd.getpwuid(os.getuid()).pw_name
    with misuse("--reason"):
        check_token(reason, "reason")
    with misuse("--by"):
        check_name(who)
    place = settings_of(settings).place
    if (serial_number is None) == (batch is None):
        raise typer.BadParameter("say a serial number or --batch, one of the two")
    if batch is not None:
        subject = _batch(batch, chunk)
    elif chunk is not None:
        raise typer.BadParameter("--chunk is of a --batch")
    else:
        with closing(open_reader(place)) as reader:
            found = find(reader, serial_number or "", issuer)
        if len(found) != 1:
            return ambiguous(found)
        subject = device_subject(found[0])
    with closing(place.open_to_write()) as session:
        added = add_mark(session, subject, verdict, reason, by=who, now=now())
    with closing(open_reader(place)) as reader:
        _tell(reader, subject, verdict, reason, added=added, as_json=as_json)
    return None


def marks(
    settings: SettingsFile = USUAL,
    batch: Batch = None,
    as_json: AsJSON = False,
) -> None:
    """Every entry that a person made, oldest first; what bundles replaced is not among them."""
    digest = None if batch is None else _batch(batch, None).digest
    with closing(open_reader(settings_of(settings).place)) as reader:
        found = reader.marks_of_persons(digest)
    if as_json:
        print_json({"marks": [asdict(each) for each in found]})
    else:
        for each in found:
            typer.echo(mark_line(each))


def _verdict(*, revoked: bool, flagged: bool, lifted: bool) -> Verdict:
    said = [
        verdict
        for verdict, flag in (
            (Verdict.REVOKED, revoked),
            (Verdict.FLAGGED, flagged),
            (Verdict.LIFTED, lifted),
        )
        if flag
    ]
    if len(said) != 1:
        raise typer.BadParameter("say --revoked, --flagged or --lifted, one of the three")
    return said[0]


def _batch(text: str, chunk: int | None) -> Subject:
    try:
        digest = bytes.fromhex(text)
    except ValueError as err:
        raise typer.BadParameter("not hex digits", param_hint="--batch") from err
    with misuse("--chunk" if len(digest) == 32 else "--batch"):
        return batch_subject(digest, chunk)


def _tell(
    reader: Reader, subject: Subject, verdict: Verdict, reason: str, *, added: bool, as_json: bool
) -> None:
    if subject.serial_number:
        (standing,) = reader.find(subject.idevid_issuer, subject.serial_number)
        if as_json:
            print_json({"added": added, **device_document(standing, reader.marks(standing))})
            return
        name = subject.serial_number
        note = ""
        if verdict is Verdict.LIFTED and standing.status_reason:
            note = f"; still {standing.status.value}, {standing.status_reason}"
    else:
        bundles = reader.bundles_of(subject.digest)
        if as_json:
            entries = [asdict(each) for each in reader.marks_of_persons(subject.digest)]
            print_json({"added": added, "bundles_loaded": bundles, "marks": entries})
            return
        name = f"batch {subject.digest.hex()}"
        if subject.chunk is not None:
            name = f"chunk {subject.chunk} of {name}"
        note = "" if bundles else "; no bundle of it is loaded yet, it will count from then on"
    stood = "" if added else " (was so already)"
    typer.echo(f"{name}: {verdict.value}, {reason}{stood}{note}")
