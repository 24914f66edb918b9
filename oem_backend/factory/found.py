"""A factory is founded: its keys, its PKI, and a settings file that names them."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.edge.atomic_file import write_atomically
from brski.edge.signers.file import write_private_key
from brski.errors import Malformed, SettingsError, StateError
from brski.idevid import fields
from brski.pki.extensions import masa_base_url
from brski.seed.recipient_key import HybridPrivateKey
from oem_backend.factory.pki import ALGORITHMS, CAChoice, KeyFiles, KeyPlace, found_pki

_FILES: Final = (
    *("root.key", "root.pem", "issuing.key", "issuing-chain.pem", "bundle.key", "bundle.pub"),
    *("recipient.key", "recipient.pub", "intake.key", "factory.toml"),
)
_TITLE_LIMIT: Final = 48  # a common name has 64 characters (RFC 5280 App. A), " Issuing CA" is ours
_SETTINGS: Final = """\
# The factory: the room without a network. Every key with its default.
# Relative paths count from this file's folder.

[factory]
name = {name}
# store = "store"                       # sealed batches and the ledger
recipient_key = "recipient.key"         # opens seed batches; read by workers alone
recipient_public = "recipient.pub"      # give this file to the silicon vendor
intake_key = "intake.key"               # makes seed fingerprints; never leaves the factory
{issuing_key}issuing_chain = "issuing-chain.pem"     # issuing CA first, root last
bundle_key = "bundle.key"               # signs bundles; give bundle.pub to the database
masa_url = {masa_url}
# hardware_module_type = none           # dotted; puts a hardwareModuleName into IDevIDs
# workers = the machine's processors
{issuing_table}
# [factory.vault]                       # keeps seeds for other uses; docs/vault.md
# kind = "none"

# Whose seed batches are taken, and whose build lists: name and public key (PEM).
# [[factory.vendor]]
# name = "silicon-vendor"
# key = "vendor.pub"
# [[factory.assembler]]
# name = "assembly"
# key = "assembly.pub"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """What to compare by voice: fingerprints, hex."""

    recipient_key_id: str
    root_sha256: str  # of the certificate, as the next one
    issuing_sha256: str  # the root's again in a PKI of two levels
    bundle_key_sha256: str  # of its SubjectPublicKeyInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """CA keys in a token, and how the settings file names it."""

    keys: KeyPlace
    table: dict[str, str]  # kind, and what its adapter reads


def found_factory(
    folder: Path,
    *,
    name: str,
    title: str,
    masa_url: str,
    levels: int,
    algorithm: str,
    created_at: datetime,
    token: TokenPlace | None = None,
) -> Founded:
    """Make everything that a factory needs; refuses a folder that has any of it already.

    Args:
        folder: made with mode 0700 when missing.
        name: of the factory, as the OEM database will know it: 1 to 64 printable ASCII characters.
        title: of the OEM, in its CAs' names: 1 to 48 characters.
        masa_url: for the IDevIDs' MASA-URL extension: ``host`` or ``host:port``.
        levels: 2: the root issues devices, its key is ``issuing.key``; 3: a CA below it does.
        algorithm: of the CAs: one of :data:`oem_backend.factory.pki.ALGORITHMS`.
        created_at: notBefore of the CAs; aware UTC, whole seconds.
        token: where the CAs' keys are made; None: in files of *folder*.

    Raises:
        StateError: a file of a factory is there already, or the token has such a key; nothing has
            been made then.
        SettingsError: one of the arguments is not as told.
        KeyUnusable, Unavailable: the token does not do it.
    """
    _check(name, title, masa_url, levels, algorithm)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_empty(folder)
    choice = CAChoice(title=title, levels=levels, algorithm=algorithm, created_at=created_at)
    keys = KeyFiles(folder=folder) if token is None else token.keys
    chain = found_pki(folder, choice, keys, secrets.token_bytes)
    recipient = HybridPrivateKey.parse(secrets.token_bytes(96))
    write_atomically(folder / "recipient.key", recipient.encode(), mode=0o600, may_replace=False)
    write_atomically(folder / "recipient.pub", recipient.public_key.encode(), mode=0o644)
    write_atomically(folder / "intake.key", secrets.token_bytes(32), mode=0o600, may_replace=False)
    bundle_key_sha256 = _make_bundle_key(folder)
    write_atomically(folder / "factory.toml", _settings(name, masa_url, token).encode(), mode=0o644)
    return Founded(
        recipient_key_id=recipient.public_key.key_id.hex(),
        root_sha256=chain[-1].fingerprint(hashes.SHA256()).hex(),
        issuing_sha256=chain[0].fingerprint(hashes.SHA256()).hex(),
        bundle_key_sha256=bundle_key_sha256,
    )


def _make_bundle_key(folder: Path) -> str:
    bundle = ec.generate_private_key(ec.SECP256R1())
    write_private_key(folder / "bundle.key", bundle)
    public = bundle.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_atomically(folder / "bundle.pub", pem, mode=0o644)
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def _settings(name: str, masa_url: str, token: TokenPlace | None) -> str:
    rows = {} if token is None else token.table
    table = "".join(f"{key} = {_toml(value)}\n" for key, value in rows.items())
    return _SETTINGS.format(
        name=_toml(name),
        masa_url=_toml(masa_url),
        issuing_key='issuing_key = "issuing.key"\n' if token is None else "",
        issuing_table=f"\n[factory.issuing]\n{table}" if table else "",
    )


def _check(name: str, title: str, masa_url: str, levels: int, algorithm: str) -> None:
    if algorithm not in ALGORITHMS or levels not in (2, 3):
        raise SettingsError(f"algorithm is one of {', '.join(ALGORITHMS)}, levels 2 or 3")
    if not 1 <= len(title) <= _TITLE_LIMIT or not title.isprintable():
        raise SettingsError(f"a title has 1 to {_TITLE_LIMIT} printable characters")
    try:
        fields.take_name(name, "name")
        masa_base_url(masa_url)
    except Malformed as err:
        raise SettingsError(err.reason) from err


def _check_empty(folder: Path) -> None:
    whole = (folder / "factory.toml").exists()  # it is written last
    for file in _FILES:
        if (folder / file).exists():
            raise StateError(
                f"{folder / file} exists: there is a factory in this folder already"
                if whole
                else f"{folder / file} exists: a factory was begun in this folder, not finished",
                hint="" if whole else "nothing was made with its keys yet: take another folder",
            )


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
