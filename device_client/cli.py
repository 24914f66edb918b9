"""brski-pledge: a device, from a terminal."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from cryptography import x509

from brski.edge.adapters import open_adapter
from brski.edge.atomic_file import read_file
from brski.edge.cli import (
    DONE,
    REFUSED,
    TRY_AGAIN,
    configure_logging,
    harden_process,
    print_json,
    printable,
    run,
)
from brski.edge.settings import load_settings
from brski.edge.signers.file import check_private_mode, load_chain
from brski.errors import Malformed, SettingsError
from brski.pki.keys import certificate_der, encode_spki
from brski.voucher.cms import CMSSerialization
from device_client.discovery.port import GROUP as DISCOVERIES
from device_client.discovery.port import Discovery
from device_client.identity.from_seed import (
    Fuse,
    SeedIdentity,
    load_fuse,
    make_fuse,
    write_fuse,
)
from device_client.identity.kinds import GROUP
from device_client.identity.port import Device, DeviceIdentity
from device_client.identity.tee.server import Signer, lock_memory, serve_signer
from device_client.keystore.files import FileKeystore
from device_client.keystore.port import Stored
from device_client.link import link_state
from device_client.onboard import onboard
from device_client.outcome import Outcome, Step, World
from device_client.pledge.origin import Origin, parse_origin
from device_client.pledge.policy import Policy
from device_client.pledge.states import Phase, Result
from device_client.renew import renew
from device_client.secret_cli import secret
from device_client.settings import PledgeSettings
from device_client.tpm_cli import tpm_storage_key
from device_client.transport.http import Limits

log = logging.getLogger(__name__)

PROGRAM: Final = "brski-pledge"
_EXIT_CODES: Final = {
    Result.ENROLLED: DONE,
    Result.REFUSED: REFUSED,
    Result.RETRY: TRY_AGAIN,
}
_PHASES: Final = {
    Phase.FACTORY: "factory",
    Phase.UNREPORTED: "enrolled, the registrar is not told yet",
    Phase.ENROLLED: "enrolled",
}

app = typer.Typer(
    name=PROGRAM,
    help="""A device that joins a network: it asks registrars for a voucher of its manufacturer, and
    then for a local certificate (RFC 8995, RFC 7030).

    Start with conf/pledge.toml, which explains every key. Then: [bold]check[/bold] it,
    [bold]onboard[/bold], and see with [bold]show[/bold] what the device holds. Started again, an
    enrolled device does nothing; [bold]renew[/bold] brings a new certificate before the old one
    expires, [bold]reset[/bold] returns to the factory state.

    Exit codes: 0 enrolled, 1 refused, 2 misuse, 3 try again.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

SettingsFile = Annotated[Path, typer.Option("--settings", "-s", help="The settings file, TOML.")]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
_USUAL: Final = Path("pledge.toml")


@app.callback()
def _every(
    debug: Annotated[bool, typer.Option("--debug", help="Log every step, and more.")] = False,
) -> None:
    if debug:
        configure_logging(PROGRAM, debug=True)
    harden_process()


@app.command(name="onboard")
def onboard_device(
    settings: SettingsFile = _USUAL,
    registrar: Annotated[
        list[str] | None,
        typer.Option(help="https://host:port, instead of the file's; as often as needed."),
    ] = None,
    as_json: AsJSON = False,
) -> int:
    """Join a network, unless the device has joined one already."""
    loaded = load_settings(settings, PledgeSettings)
    device = _device(loaded, settings)
    identity = device.identity
    steps: list[Step] = []
    outcome = asyncio.run(
        onboard(
            identity,
            _origins(registrar) if registrar else loaded.origins,
            FileKeystore(loaded.keystore, device.ldevid_keys),
            policy=_policy(loaded),
            limits=_limits(loaded),
            rounds=loaded.timing.rounds,
            first_delay_s=loaded.timing.first_delay_s,
            discovery=None if registrar else _discovery(loaded, settings),
            serialization=CMSSerialization(interoperability=loaded.interoperability),
            world=_world(loaded, steps.append if as_json else _tell_step),
        )
    )
    return _tell(identity, outcome, steps, as_json=as_json)


@app.command(name="renew")
def renew_ldevid(
    settings: SettingsFile = _USUAL,
    rekey: Annotated[
        bool, typer.Option("--rekey", help="For a fresh key, instead of the one that is there.")
    ] = False,
    registrar: Annotated[
        str | None,
        typer.Option(help="https://host:port, instead of the one that the LDevID came from."),
    ] = None,
    as_json: AsJSON = False,
) -> int:
    """Have the LDevID renewed by its domain; the former one holds until the new one is kept.

    Cut off in the middle, it goes on as it began when it is called again.
    """
    loaded = load_settings(settings, PledgeSettings)
    device = _device(loaded, settings)
    steps: list[Step] = []
    outcome = asyncio.run(
        renew(
            device.identity,
            FileKeystore(loaded.keystore, device.ldevid_keys),
            rekey=rekey,
            registrar=_origins([registrar])[0] if registrar else None,
            discovery=None if registrar else _discovery(loaded, settings),
            policy=_policy(loaded),
            limits=_limits(loaded),
            world=_world(loaded, steps.append if as_json else _tell_step),
        )
    )
    return _tell(device.identity, outcome, steps, as_json=as_json)


@app.command()
def discover(settings: SettingsFile = _USUAL) -> int:
    """Listen once, and print the address of each registrar or proxy that announces itself."""
    discovery = _discovery(load_settings(settings, PledgeSettings), settings)
    if discovery is None:
        raise SettingsError(f"{settings} has no [discovery]", hint="conf/pledge.toml explains it")
    found = asyncio.run(discovery.look())
    for origin in found:
        typer.echo(str(origin))
    return DONE if found else TRY_AGAIN


@app.command()
def show(settings: SettingsFile = _USUAL, as_json: AsJSON = False) -> None:
    """Say who the device is and what it holds; nothing secret is shown."""
    loaded = load_settings(settings, PledgeSettings)
    device = _device(loaded, settings)
    stored = FileKeystore(loaded.keystore, device.ldevid_keys).load()
    document = _device_document(device.identity, stored)
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        for line in value if isinstance(value, list) else [value]:
            typer.echo(f"{name.replace('_', ' '):18} {printable(_line(line))}")


@app.command()
def sample(settings: SettingsFile = _USUAL) -> None:
    """Print the device's line for the factory's self-test: serial number, SHA-256 of its key.

    A few devices of each batch tell it, and [bold]brski-oem check-samples[/bold] compares.
    """
    identity = _device(load_settings(settings, PledgeSettings), settings).identity
    typer.echo(f"{identity.serial_number} {_key_digest(identity)}")


@app.command()
def reset(
    settings: SettingsFile = _USUAL,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Return the device to the factory state: LDevID, its key and the anchors are deleted.

    The registrar is not told; the certificate stays valid for whoever has a copy of the key.
    """
    keystore = FileKeystore(load_settings(settings, PledgeSettings).keystore)
    if not yes:
        typer.confirm(f"Delete what is in {keystore.directory}?", abort=True)
    keystore.reset()
    typer.echo("the device is in the factory state")


@app.command()
def check(settings: SettingsFile = _USUAL) -> None:
    """Read the settings and the identity, and say every fault at once."""
    loaded = load_settings(settings, PledgeSettings)
    _discovery(loaded, settings)
    identity = _device(loaded, settings).identity
    typer.echo(f"{settings}: good; the device is {identity.serial_number}")


@app.command()
def tee(
    fuse: Annotated[Path, typer.Option(help="The fuse file; none but its owner may read it.")],
    socket: Annotated[Path, typer.Option(help="Where to listen, in a folder of its own.")],
    client_uid: Annotated[
        int | None, typer.Option(help="Whose processes may ask; without, this user's.")
    ] = None,
    announce: Annotated[
        bool, typer.Option(help="Print one JSON line once the socket is open.")
    ] = False,
) -> None:
    """Be the signer of a device: hold the seed, and sign for the pledge (docs/tee.md).

    It signs what an onboarding needs, and gives out no key. Ends with SIGTERM or SIGINT.
    """
    if not logging.getLogger().handlers:
        configure_logging(PROGRAM)
    burnt = load_fuse(fuse)
    signer = Signer(burnt, SeedIdentity(burnt))
    if not lock_memory():
        log.warning("memory is not locked, so it may be swapped out")
    asyncio.run(serve_signer(signer, socket, client_uid=client_uid, announce=announce))


@app.command(name="make-fuse-file")
def make_fuse_file(
    path: Annotated[Path, typer.Argument(help="The fuse file to write, mode 0600.")],
    seed_file: Annotated[
        Path, typer.Option(help="The seed: 32 to 64 raw octets, in a file of mode 0600.")
    ],
    chip_id: Annotated[str, typer.Option(help="Hex, as in the seed batch.")],
    serial_number: Annotated[str, typer.Option(help="The device's.")],
    idevid_issuer: Annotated[
        str, typer.Option(help="keyIdentifier of the OEM's issuing CA: 40 hex digits.")
    ],
    voucher_anchors: Annotated[
        Path, typer.Option(help="PEM: whom alone the device believes vouchers.")
    ],
    profile: Annotated[str, typer.Option(help="How the key is derived.")] = "hmac-drbg-p256",
    masa_url: Annotated[str | None, typer.Option(help="A hint for the registrar.")] = None,
    certificates: Annotated[
        Path | None,
        typer.Option(help="PEM: the IDevID and its issuers. Without, the device asserts."),
    ] = None,
) -> None:
    """Write the fuse file of a device of your own (docs/fuse-file.md).

    The file is as secret as the seed: whoever holds it is the device.
    """
    check_private_mode(seed_file)
    fuse: Fuse = make_fuse(
        read_file(seed_file, max_octets=64),
        chip_id=_hex("--chip-id", chip_id),
        serial_number=serial_number,
        idevid_issuer=_hex("--idevid-issuer", idevid_issuer),
        derivation_profile=profile,
        voucher_anchors=load_chain(voucher_anchors),
        masa_url=masa_url,
        certificates=load_chain(certificates) if certificates is not None else (),
    )
    identity = SeedIdentity(fuse)
    write_fuse(path, fuse)
    kind = "carries its IDevID" if identity.carried else "asserts its serial number"
    typer.echo(f"{path}: {identity.serial_number}, which {kind}")


app.command()(secret)
app.command(name="tpm-storage-key")(tpm_storage_key)


def main(argv: list[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        0 enrolled or done, 1 refused, 2 misuse, 3 try again.
    """
    return run(app, argv, PROGRAM)


# -- from settings to values


def _device(loaded: PledgeSettings, source: Path) -> Device:
    """Open what ``[identity]`` names."""
    device: Device = open_adapter(GROUP, loaded.identity, source=source, where="identity")
    return device


def _policy(settings: PledgeSettings) -> Policy:
    return Policy(
        acceptable=frozenset(settings.voucher.assertions),
        allow_nonceless=settings.voucher.allow_nonceless,
        voucher_wait_s=settings.timing.voucher_wait_s,
        enroll_wait_s=settings.timing.enroll_wait_s,
    )


def _discovery(loaded: PledgeSettings, source: Path) -> Discovery | None:
    if loaded.discovery is None:
        return None
    found: Discovery = open_adapter(DISCOVERIES, loaded.discovery, source=source, where="discovery")
    return found


def _limits(settings: PledgeSettings) -> Limits:
    return Limits(progress_s=settings.timing.progress_s, answer_s=settings.timing.answer_s)


def _world(settings: PledgeSettings, observer: Callable[[Step], None]) -> World:
    clock = _now if settings.voucher.trusted_clock else None
    return World(clock=clock, observer=observer, link=link_state)


def _origins(addresses: list[str]) -> tuple[Origin, ...]:
    try:
        return tuple(map(parse_origin, addresses))
    except Malformed as err:
        raise SettingsError(f"--registrar: {err.reason}") from err


def _hex(option: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as err:
        raise SettingsError(f"{option} is not hex") from err


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge reads the clock


# -- telling


def _tell(identity: DeviceIdentity, outcome: Outcome, steps: list[Step], *, as_json: bool) -> int:
    if as_json:
        print_json(_outcome_document(identity, outcome, steps))
    else:
        _tell_outcome(identity, outcome)
    return _EXIT_CODES[outcome.result]


def _tell_step(step: Step) -> None:
    detail = f"  {step.detail}" if step.detail else ""
    line = f"{step.name.value:16} {step.status.value:8} {step.ms:7.0f} ms{detail}"
    print(printable(line), flush=True)


def _tell_outcome(identity: DeviceIdentity, outcome: Outcome) -> None:
    line = f"{identity.serial_number}: {outcome.result.value} ({outcome.code}): {outcome.reason}"
    if outcome.result is Result.ENROLLED:
        print(printable(line))
    else:
        print(f"{PROGRAM}: error: {printable(line)}", file=sys.stderr)


def _outcome_document(
    identity: DeviceIdentity, outcome: Outcome, steps: list[Step]
) -> dict[str, Any]:
    ldevid = outcome.artifacts.ldevid_chain
    return {
        "serial_number": identity.serial_number,
        "identity": _presentation(identity),
        "result": outcome.result,
        "code": outcome.code,
        "reason": outcome.reason,
        "reported": outcome.reported,
        "registrar": str(outcome.registrar),
        "ldevid_sha256": hashlib.sha256(ldevid[0]).hexdigest() if ldevid else None,
        "steps": [
            {
                "name": step.name,
                "status": step.status,
                "ms": round(step.ms, 1),
                "detail": step.detail,
                "registrar": str(step.registrar),
            }
            for step in steps
        ],
    }


def _device_document(identity: DeviceIdentity, stored: Stored) -> dict[str, Any]:
    issuer = identity.idevid_issuer
    enrollment = stored.enrollment
    document: dict[str, Any] = {
        "serial_number": identity.serial_number,
        "identity": _presentation(identity),
        "idevid_issuer": issuer.hex() if issuer else None,
        "spki_sha256": _key_digest(identity),
        "shown_in_tls": [_certificate_document(c) for c in identity.client_chain],
        "voucher_anchors": [_certificate_document(c) for c in identity.voucher_anchors],
        "state": _PHASES[stored.phase],
    }
    if enrollment is not None:
        document["registrar"] = str(enrollment.origin)
        if stored.renewal is not None:
            document["renewal_begun"] = stored.renewal.value
        document["ldevid"] = [_certificate_document(c) for c in enrollment.ldevid_chain]
        document["trust_anchors"] = [_certificate_document(c) for c in enrollment.domain.anchors]
        document["pinned"] = [_certificate_document(enrollment.pinned_domain_cert)]
    return document


def _key_digest(identity: DeviceIdentity) -> str:
    return hashlib.sha256(encode_spki(identity.signer().public_key)).hexdigest()


def _certificate_document(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "sha256": hashlib.sha256(certificate_der(certificate)).hexdigest(),
    }


def _line(value: object) -> str:
    if isinstance(value, dict):
        until = value["not_after"].date()
        return f"{value['subject']}  until {until}  sha256 {value['sha256'][:16]}…"
    return "not known" if value is None else str(value)


def _presentation(identity: DeviceIdentity) -> str:
    return "carried" if identity.carried else "asserted"
