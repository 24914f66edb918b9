"""Where a worker gets the vault key from: a file, a passphrase, or what an entry point brings.

Only workers call what is here: the long-lived process hands over names and paths.
"""

from __future__ import annotations

import getpass
import importlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from brski.edge.atomic_file import read_file, write_atomically
from brski.edge.signers.file import check_private_mode
from brski.errors import KeyUnusable, SettingsError, StateError
from brski.pki import cbor
from brski.seed.vault import KEY_OCTETS, VaultKeys
from brski.seed.vault_log import Header

GROUP: Final = "brski.vault_key"  # entry points of other kinds
Source: TypeAlias = Mapping[str, str]  # kind, and where its key is: names and paths, no secret

_PASSPHRASE_LIMIT: Final = 1024


class KeyKind(Protocol):
    """What an entry point of the group leads to."""

    def load(self, source: Source, vault_id: bytes) -> bytes:
        """The vault key, 32 octets.

        Raises:
            KeyUnusable, FileUnusable, Unavailable: it cannot be had.
        """

    def make(self, source: Source, vault_id: bytes) -> None:
        """Make the key of a new vault, unless it is there."""


def encode_source(source: Source) -> dict[int | str, cbor.Encodable]:
    """An item of a job."""
    return {name: value for name, value in source.items()}  # noqa: C416 - of a wider type


def open_keys(source: Source, header: bytes, mac: bytes) -> VaultKeys:
    """The keys of a vault.

    Args:
        header, mac: as they stand in the vault.

    Raises:
        KeyUnusable: no key is to be had, or it is not this vault's.
        StateError: the header is none.
    """
    parsed = Header.parse(header)
    keys = VaultKeys(_load(source, parsed), parsed.vault_id)
    try:
        keys.check_mac(header, mac, "the header")
    except StateError as err:
        raise KeyUnusable("the key is not that of this vault, or its header was altered") from err
    return keys


def make_keys(source: Source, header: Header) -> VaultKeys:
    """The keys of a new vault; what can be made of them is made, unless it is there.

    Raises:
        KeyUnusable: as :func:`open_keys`, or two passphrases that differ.
    """
    match source["kind"]:
        case "file":
            _make_file(Path(source["key"]))
        case "passphrase":
            if "passphrase_file" not in source:
                return VaultKeys(_stretch(header, _ask_twice()), header.vault_id)
        case kind:
            _installed(kind).make(source, header.vault_id)
    return VaultKeys(_load(source, header), header.vault_id)


def _load(source: Source, header: Header) -> bytes:
    if source["kind"] != header.kind.value:
        raise KeyUnusable(
            f"the vault's key is of kind {header.kind.value}, the settings say {source['kind']}"
        )
    match source["kind"]:
        case "file":
            path = Path(source["key"])
            check_private_mode(path)
            return read_file(path, max_octets=KEY_OCTETS)
        case "passphrase":
            return _stretch(header, _passphrase(source))
        case kind:
            return _installed(kind).load(source, header.vault_id)


def _make_file(path: Path) -> None:
    if not path.exists():
        write_atomically(path, secrets.token_bytes(KEY_OCTETS), mode=0o600, may_replace=False)


def _stretch(header: Header, passphrase: bytes) -> bytes:
    if header.stretching is None:
        raise StateError("the header of the vault was altered")
    return header.stretching.stretch(passphrase)


def _passphrase(source: Source) -> bytes:
    if "passphrase_file" not in source:
        return _ask("Passphrase of the vault: ")
    path = Path(source["passphrase_file"])
    check_private_mode(path)
    return read_file(path, max_octets=_PASSPHRASE_LIMIT).removesuffix(b"\n")


def _ask_twice() -> bytes:
    first = _ask("Passphrase of the new vault: ")
    if first != _ask("Once more: "):
        raise KeyUnusable("the two passphrases differ")
    return first


def _ask(prompt: str) -> bytes:
    """On the terminal itself, which a worker has, too; never from standard input."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as err:
        raise KeyUnusable(
            "there is no terminal to ask for the passphrase on", hint="name a passphrase_file"
        ) from err
    return getpass.getpass(prompt).encode()


def _installed(kind: str) -> KeyKind:
    # By name, as entry points themselves are loaded: the module would slow down every worker.
    metadata = importlib.import_module("importlib.metadata")
    points = tuple(metadata.entry_points(group=GROUP, name=kind))
    if not points:
        raise SettingsError(f"a vault key of kind {kind!r} is not installed")
    load: Callable[[], Callable[[], KeyKind]] = points[0].load
    try:
        return load()()
    except ImportError as err:
        raise SettingsError(
            f"a vault key of kind {kind!r} cannot be loaded: {err}", hint=f"the extra [{kind}]"
        ) from err
