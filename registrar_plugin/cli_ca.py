"""brski-registrar ca: what an operator does with the domain's CA, where its keys are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from brski.edge.adapters import open_adapter
from brski.edge.atomic_file import write_atomically
from brski.edge.settings import load_settings
from brski.edge.signers.file import load_private_key, load_signer, pem_of, write_private_key
from brski.edge.signers.key import KeySigner
from brski.errors import SettingsError
from registrar_plugin.adapters import CA_BACKENDS
from registrar_plugin.ca_backend.crl import PublishedCRL
from registrar_plugin.ca_backend.rollover import make_rollover
from registrar_plugin.clerk import Clerk
from registrar_plugin.cli_common import USUAL, SettingsFile, with_journal
from registrar_plugin.revocation.file import write_crl
from registrar_plugin.revocation.opening import open_keeper
from registrar_plugin.settings import RegistrarSettings
from registrar_plugin.store.sqlite import SQLiteJournal

app = typer.Typer(help="The domain's CA.", no_args_is_help=True)


@app.command()
def crl(
    settings: SettingsFile = USUAL,
    label: Annotated[
        str | None, typer.Option(help="Of the profile whose own CA is meant; none: that of [ca].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it here, too; .pem for PEM.")] = None,
) -> None:
    """Sign a new revocation list now, in the journal's order, and put it where [crl] says."""
    loaded = load_settings(settings, RegistrarSettings)
    wanted = loaded.lists().get(label)
    if wanted is None:
        there = ", ".join(f"--label {each}" if each else "[crl]" for each in loaded.lists())
        table = "table [crl]" if label is None else f"crl in a profile of the label {label!r}"
        raise SettingsError(
            f"{settings} has no {table}; there is: {there or 'none'}", hint="docs/ca.md explains it"
        )

    async def sign(journal: SQLiteJournal) -> PublishedCRL:
        ca = open_adapter(CA_BACKENDS, _table(loaded, label), source=settings, where="ca")
        clerk = Clerk(journal, lambda: datetime.now(UTC))  # noqa: TID251 - the edge
        try:
            keeper = open_keeper(wanted, ca=ca, journal=journal, clerk=clerk)
            return await keeper.refresh(now_anyway=True)
        finally:
            await ca.close()

    signed = with_journal(settings, sign)
    if out is not None:
        write_crl(out, signed.octets)
    typer.echo(f"CRL {signed.number}, next update {signed.next_update:%Y-%m-%d %H:%M:%S}Z")


def _table(settings: RegistrarSettings, label: str | None) -> Mapping[str, Any]:
    """Of the CA whose list is meant, which the settings have."""
    own = [p.ca for p in settings.est.profile if p.ca is not None and (p.label or "") == label]
    return own[0] if own else settings.ca


@app.command()
def rollover(
    root: Annotated[Path, typer.Option(help="The root's certificate of today, PEM.")],
    root_key: Annotated[Path, typer.Option(help="Its private key, PEM, 0600.")],
    new_key: Annotated[Path, typer.Option(help="The next one's key; made (P-256) if missing.")],
    out: Annotated[Path, typer.Option(help="The folder that the certificates are written into.")],
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Life of the new root.")] = 3650,
) -> None:
    """Give the owner's root a new key, and certify each of the two keys with the other."""
    old = load_signer(root_key, root, deterministic=True)
    if not new_key.exists():
        write_private_key(new_key, ec.generate_private_key(ec.SECP256R1()))
    new = KeySigner(load_private_key(new_key), deterministic=True)
    now = datetime.now(UTC)  # noqa: TID251 - the edge
    made = make_rollover(old, new, now=now, not_after=now + timedelta(days=days))
    out.mkdir(parents=True, exist_ok=True)
    for name, certificates in (
        ("new-root.pem", (made.new_with_new,)),
        ("new-with-old.pem", (made.new_with_old,)),
        ("rollover.pem", made.certificates),
    ):
        write_atomically(out / name, pem_of(certificates), mode=0o644, may_replace=False)
        typer.echo(str(out / name))
