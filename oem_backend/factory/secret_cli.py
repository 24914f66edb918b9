"""brski-oem secret and open-secret: one device's secret for a purpose (docs/secrets.md)."""

from __future__ import annotations

import logging
import secrets
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from brski.edge.atomic_file import read_file, write_atomically
from brski.edge.signers.file import check_private_mode
from brski.errors import SettingsError, StateError
from brski.seed.device_secret import (
    LEAST_OCTETS,
    MOST_OCTETS,
    USUAL_OCTETS,
    Purpose,
    SealedSecret,
    open_secret,
)
from brski.seed.recipient_key import PRIVATE_OCTETS, HybridPrivateKey, HybridPublicKey
from brski.seed.vault_log import Action
from oem_backend.factory.cli import SettingsFile
from oem_backend.factory.vault.kept import KeptChunk
from oem_backend.factory.vault.work import derive_device_secret, encode_secret
from oem_backend.factory.vault_cli import USUAL, MakeExecutor, Operator, open_desk
from oem_backend.factory.vault_target import VaultDesk, find_record
from oem_backend.factory.vault_use import who

log = logging.getLogger(__name__)

Out = Annotated[Path | None, typer.Option("--out", "-o", help="A new file, mode 0600.")]
ToStdout = Annotated[bool, typer.Option("--stdout", help="Raw octets on standard output.")]


def add_secret_commands(app: typer.Typer, make_executor: MakeExecutor) -> None:
    """Add the two commands to the program."""

    @app.command(name="secret")
    def secret(
        purpose: Annotated[str, typer.Option(help="Such as firmware-encryption.")],
        reason: Annotated[str, typer.Option(help="Why; goes into the vault's log.")],
        serial: Annotated[str | None, typer.Option(help="Of the device.")] = None,
        chip: Annotated[str | None, typer.Option(help="Of the chip, hex, instead.")] = None,
        octets: Annotated[
            int, typer.Option(min=LEAST_OCTETS, max=MOST_OCTETS, help="How long.")
        ] = USUAL_OCTETS,
        recipient: Annotated[
            Path | None, typer.Option(help="Seal it to this public key (1216 octets).")
        ] = None,
        out: Out = None,
        stdout: ToStdout = False,
        operator: Operator = None,
        settings: SettingsFile = USUAL,
    ) -> None:
        """Derive a device's secret for a purpose, from its seed in the vault."""
        wanted = Purpose(name=purpose, octets=octets)
        _check_way_out(out, stdout=stdout)
        if (serial is None) == (chip is None):
            raise SettingsError("name one of --serial and --chip")
        sealed_to = None if recipient is None else HybridPublicKey.parse(read_file(recipient))
        with open_desk(settings, make_executor) as desk:
            chunk, chip_id = find_record(desk, serial=serial, chip=chip)
            subject = f"{purpose} ({octets}) of chip {chip_id.hex()}"
            desk.vault.log(who(operator, reason).use(Action.SECRET, subject, 1))
            kept = desk.vault.kept(chunk, frozenset((chip_id,)))
            answer = _derive(desk, kept, wanted, sealed_to)
        _hand_over(answer, out)
        log.info("secret derived", extra={"purpose": purpose, "chip_id": chip_id})

    @app.command(name="open-secret")
    def open_sealed(
        sealed: Annotated[Path, typer.Argument(help="What secret --recipient wrote.")],
        key: Annotated[Path, typer.Option(help="The recipient's private key, mode 0600.")],
        out: Out = None,
        stdout: ToStdout = False,
    ) -> None:
        """Open a secret that was sealed to a recipient."""
        _check_way_out(out, stdout=stdout)
        check_private_mode(key)
        private = HybridPrivateKey.parse(read_file(key, max_octets=PRIVATE_OCTETS))
        parsed = SealedSecret.parse(read_file(sealed))
        _hand_over(open_secret(parsed, private).octets, out)


def _derive(
    desk: VaultDesk, kept: KeptChunk, purpose: Purpose, recipient: HybridPublicKey | None
) -> bytes:
    """The secret; or, for a recipient, the file that is sealed to it.

    A worker's answer lies in a temporary file, so it is sealed in any case: to a key of this
    process, which is gone with it.
    """
    ours = HybridPrivateKey.parse(secrets.token_bytes(PRIVATE_OCTETS))
    job = encode_secret(kept, purpose, recipient or ours.public_key)
    with closing(desk.executor.map(derive_device_secret, [job])) as answers:
        answer = next(answers)
    return answer if recipient is not None else open_secret(SealedSecret.parse(answer), ours).octets


def _check_way_out(out: Path | None, *, stdout: bool) -> None:
    if (out is None) != stdout:
        raise SettingsError("say either --out FILE or --stdout")
    if out is not None and out.exists():
        raise StateError(f"{out} exists and is not replaced")


def _hand_over(octets: bytes, out: Path | None) -> None:
    if out is None:
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
        return
    write_atomically(out, octets, mode=0o600, may_replace=False)
