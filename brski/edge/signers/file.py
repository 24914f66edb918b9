"""Private keys and certificate chains in PEM files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from brski.edge.atomic_file import read_file, write_atomically
from brski.edge.settings import ExistingFile, Settings
from brski.edge.signers.key import KeySigner, check_private_key
from brski.errors import FileUnusable, KeyUnusable, PeerError
from brski.pki.keys import parse_pem_certificates
from brski.pki.signatures import PrivateKey

_KEY_FILE_LIMIT: Final = 64 * 1024


class FileSignerSettings(Settings):
    """The table of a signer of kind ``file``."""

    kind: str
    chain: ExistingFile  # PEM, the key's certificate first
    key: ExistingFile  # PEM, 0600


class FileSignerKind:
    """Entry point ``file`` of ``brski.signer``: deterministic wherever the algorithm can be."""

    Settings = FileSignerSettings

    @classmethod
    def open(cls, settings: FileSignerSettings) -> KeySigner:
        """Read the key and its chain; errors as :func:`load_signer`."""
        return load_signer(settings.key, settings.chain, deterministic=True)


def load_signer(
    key_path: Path, chain_path: Path | None = None, *, deterministic: bool = False
) -> KeySigner:
    """Read a signer from its files.

    Args:
        key_path: PEM, PKCS #8 or the key's traditional form, not encrypted, mode 0600 or less.
        chain_path: PEM certificates, the key's own first; None for a bare key.
        deterministic: RFC 6979 nonces for ECDSA; see :class:`KeySigner`.

    Raises:
        KeyUnusable: others may read the key, it is encrypted, of a kind that we do not sign with,
            or not the key of the chain's first certificate.
        FileUnusable: a file is missing, not readable, or holds no certificates.
        Unavailable: the disk fails.
    """
    chain = () if chain_path is None else load_chain(chain_path)
    private_key = load_private_key(key_path)
    try:
        return KeySigner(private_key, chain, deterministic=deterministic)
    except KeyUnusable as err:
        raise KeyUnusable(f"{key_path} with {chain_path}: {err.reason}", hint=err.hint) from err


def load_private_key(path: Path) -> PrivateKey:
    """Read one private key of ours.

    Args:
        path: PEM, PKCS #8 or the key's traditional form, not encrypted, mode 0600 or less.

    Raises:
        KeyUnusable: others may read it, it is encrypted, or of a kind that we do not sign with.
        FileUnusable: missing or not readable.
        Unavailable: the disk fails.
    """
    check_private_mode(path)
    pem = read_file(path, max_octets=_KEY_FILE_LIMIT)
    try:
        private_key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as err:
        raise KeyUnusable(
            f"{path} is encrypted", hint="openssl pkey writes it without a passphrase"
        ) from err
    except (ValueError, UnsupportedAlgorithm) as err:
        raise KeyUnusable(f"{path} is not a PEM private key") from err
    try:
        return check_private_key(private_key)
    except KeyUnusable as err:
        raise KeyUnusable(f"{path}: {err.reason}", hint=err.hint) from err


def load_chain(path: Path) -> tuple[x509.Certificate, ...]:
    """Read PEM certificates in the order of the file: for a chain the leaf first.

    Raises:
        FileUnusable: missing, not readable, no certificate in it, or one that is not strict DER.
        Unavailable: the disk fails.
    """
    pem = read_file(path)
    try:
        chain = parse_pem_certificates(pem)
    except PeerError as err:
        raise FileUnusable(f"{path}: {err.reason}") from err
    if not chain:
        raise FileUnusable(f"{path} holds no PEM certificate")
    return chain


def write_private_key(path: Path, private_key: PrivateKey, *, may_replace: bool = False) -> None:
    """Write a key as unencrypted PKCS #8 PEM, mode 0600, atomically.

    Raises:
        StateError: *path* exists and *may_replace* is False.
        Unavailable, FileUnusable: as :func:`~brski.edge.atomic_file.write_atomically`.
    """
    pem = private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_atomically(path, pem, mode=0o600, may_replace=may_replace)


def write_chain(path: Path, chain: Iterable[x509.Certificate], *, mode: int = 0o644) -> None:
    """Write certificates as PEM, one after the other, atomically.

    Raises:
        Unavailable, FileUnusable: as :func:`~brski.edge.atomic_file.write_atomically`.
    """
    write_atomically(path, pem_of(chain), mode=mode)


def pem_of(chain: Iterable[x509.Certificate]) -> bytes:
    """Certificates as concatenated PEM, in the order given."""
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in chain)


def check_private_mode(path: Path) -> None:
    """Raise unless *path* is a file that none but its owner may touch.

    Also for fuse files, intake keys and recipient keys.

    Raises:
        KeyUnusable: group or others may read or write it.
        FileUnusable: missing, or not a regular file.
    """
    try:
        status = path.stat()
    except OSError as err:
        raise FileUnusable(f"{path} cannot be read: {os.strerror(err.errno or 0)}") from err
    if not stat.S_ISREG(status.st_mode):
        raise FileUnusable(f"{path} is not a regular file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise KeyUnusable(
            f"{path} has mode {mode:04o}, so others can read or change it",
            hint=f"chmod 600 {path}",
        )
