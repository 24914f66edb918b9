"""``brski-lab verify``: why a voucher or a voucher-request is taken, or is not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography.x509 import Certificate
from rich.console import Console
from rich.text import Text

from brski.edge.cli import REFUSED, print_json, printable
from brski.errors import FileUnusable, OnboardingError, SettingsError
from brski.voucher.cms import CMSSerialization
from brski.voucher.interoperability import Interoperability
from brski.voucher.yang_types import decode_date
from brski_lab.verifying.files import load_certificates, load_message
from brski_lab.verifying.steps import Outcome, Step, Verdict
from brski_lab.verifying.voucher import VoucherCase, verify_voucher
from brski_lab.verifying.voucher_request import RequestCase, verify_voucher_request
from device_client.pledge.policy import Policy

app = typer.Typer(
    help="Why a voucher or a voucher-request is taken, or is not: the verdict rule by rule.",
    no_args_is_help=True,
)

_STYLES: Final = {Outcome.OK: "green", Outcome.FAILED: "bold red", Outcome.NOT_JUDGED: "yellow"}
_WIDTH: Final = max(len(outcome) for outcome in Outcome)

Message = Annotated[Path, typer.Argument(help="DER, or that in PEM, base64 or hex.")]
Anchor = Annotated[
    Path, typer.Option(help="The manufacturer's certificate or certificates, PEM or DER.")
]
Time = Annotated[
    str | None, typer.Option(help="Judge at this moment (2021-04-13T21:43:23Z); now, if missing.")
]
Samples = Annotated[
    Interoperability, typer.Option(help="Which deviations are taken; docs/voucher.md.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command()
def voucher(
    file: Message,
    request: Annotated[
        Path, typer.Option(help="What was asked: the pledge's message, or the registrar's.")
    ],
    anchor: Anchor,
    time: Time = None,
    clockless: Annotated[
        bool, typer.Option("--clockless", help="As a pledge without a clock: no date counts.")
    ] = False,
    registrar_chain: Annotated[
        Path | None, typer.Option(help="What the registrar showed in TLS, its own first.")
    ] = None,
    idevid: Annotated[
        Path | None, typer.Option(help="The device's IDevID, if its request does not enclose it.")
    ] = None,
    allow_nonceless: Annotated[
        bool, typer.Option("--allow-nonceless", help="Take a voucher without nonce.")
    ] = False,
    interoperability: Samples = Interoperability.STRICT,
    as_json: AsJSON = False,
) -> int | None:
    """Judge a voucher as the pledge does that asked for it."""
    verdict = verify_voucher(
        VoucherCase(
            voucher=load_message(file),
            request=load_message(request),
            anchors=_some(load_certificates(anchor), anchor),
            registrar_chain=load_certificates(registrar_chain) if registrar_chain else (),
            idevid=_some(load_certificates(idevid), idevid)[0] if idevid else None,
            now=None if clockless else _moment(time),
            policy=Policy(allow_nonceless=allow_nonceless),
        ),
        CMSSerialization(interoperability=interoperability),
    )
    return _tell(verdict, as_json=as_json)


@app.command(name="voucher-request")
def voucher_request(
    file: Message,
    anchor: Anchor,
    registrar: Annotated[
        Path | None, typer.Option(help="The certificate that the pledge should have met.")
    ] = None,
    idevid: Annotated[
        Path | None, typer.Option(help="The IDevID's chain, if the message does not enclose it.")
    ] = None,
    time: Time = None,
    interoperability: Samples = Interoperability.STRICT,
    as_json: AsJSON = False,
) -> int | None:
    """Judge a pledge's voucher-request as a registrar does, its connection apart."""
    verdict = verify_voucher_request(
        RequestCase(
            request=load_message(file),
            anchors=_some(load_certificates(anchor), anchor),
            registrar=_some(load_certificates(registrar), registrar)[0] if registrar else None,
            idevid=load_certificates(idevid) if idevid else (),
            now=_moment(time),
        ),
        CMSSerialization(interoperability=interoperability),
    )
    return _tell(verdict, as_json=as_json)


def _some(certificates: tuple[Certificate, ...], path: Path) -> tuple[Certificate, ...]:
    if not certificates:
        raise FileUnusable(f"{path} holds no certificate")
    return certificates


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)  # noqa: TID251 - the edge
    try:
        return decode_date(text)
    except OnboardingError as err:
        raise SettingsError(f"--time {text!a} is {err.reason}") from err


def _tell(verdict: Verdict, *, as_json: bool) -> int | None:
    if as_json:
        print_json(verdict.as_document())
    else:
        console = Console(highlight=False)
        for step in verdict.steps:
            console.print(_line(step), soft_wrap=True)
        word = "accepted" if verdict.accepted else "refused"
        console.print(Text(word, style="bold green" if verdict.accepted else "bold red"))
    return None if verdict.accepted else REFUSED


def _line(step: Step) -> Text:
    line = Text(f"{step.outcome.value:{_WIDTH}}  ", style=_STYLES[step.outcome])
    line.append(printable(f"{step.name} ({step.section})"), style="bold")
    if step.found or step.wanted:
        wanted = f"; wanted: {step.wanted}" if step.wanted else ""
        line.append(printable(f"\n    found: {step.found or 'nothing'}{wanted}"), style="default")
    if step.reason:
        line.append(printable(f"\n    {step.reason}"), style=_STYLES[step.outcome])
    return line
