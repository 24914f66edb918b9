"""A factory is founded: its keys, its PKI, and a settings file that names them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from brski.edge.atomic_file import write_atomically
from brski.edge.signers.file import write_chain, write_private_key
from brski.errors import Malformed, SettingsError, StateError
from brski.idevid import fields
from brski.pki.extensions import masa_base_url
from brski.pki.signatures import PrivateKey
from brski.seed.recipient_key import HybridPrivateKey

_FILES: Final = (
    *("root.key", "root.pem", "issuing.key", "issuing-chain.pem", "bundle.key", "bundle.pub"),
    *("recipient.key", "recipient.pub", "intake.key", "factory.toml"),
)
_TITLE_LIMIT: Final = 48  # a common name has 64 characters (RFC 5280 App. A), " Issuing CA" is ours
_NEVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_ALGORITHMS: Final[dict[str, Callable[[], PrivateKey]]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}

_SETTINGS: Final = """\
# The factory: the room without a network. Every key with its default.
# Relative paths count from this file's folder.

[factory]
name = {name}
# store = "store"                       # sealed batches and the ledger
recipient_key = "recipient.key"         # opens seed batches; read by workers alone
recipient_public = "recipient.pub"      # give this file to the silicon vendor
intake_key = "intake.key"               # makes seed fingerprints; never leaves the factory
issuing_key = "issuing.key"
issuing_chain = "issuing-chain.pem"     # issuing CA first, root last
bundle_key = "bundle.key"               # signs bundles; give bundle.pub to the database
masa_url = {masa_url}
# hardware_module_type = none           # dotted; puts a hardwareModuleName into IDevIDs
# workers = the machine's processors

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
    root_sha256: str
    bundle_key_sha256: str


def found_factory(
    folder: Path,
    *,
    name: str,
    title: str,
    masa_url: str,
    levels: int,
    algorithm: str,
    created_at: datetime,
) -> Founded:
    """Make everything that a factory needs; refuses a folder that has any of it already.

    Args:
        folder: made with mode 0700 when missing.
        name: of the factory, as the OEM database will know it: 1 to 64 printable ASCII characters.
        title: of the OEM, in its CAs' names: 1 to 48 characters.
        masa_url: for the IDevIDs' MASA-URL extension: ``host`` or ``host:port``.
        levels: 2: the root issues devices, its key is ``issuing.key``; 3: a CA below it does.
        algorithm: of the CAs: ``P-256``, ``P-384`` or ``Ed25519``.
        created_at: notBefore of the CAs; aware UTC, whole seconds.

    Raises:
        StateError: a file of a factory is there already; nothing has been made then.
        SettingsError: one of the arguments is not as told.
    """
    _check(name, title, masa_url, levels, algorithm)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_empty(folder)
    chain = _found_pki(folder, title, levels, _ALGORITHMS[algorithm], created_at)
    recipient = HybridPrivateKey.parse(secrets.token_bytes(96))
    write_atomically(folder / "recipient.key", recipient.encode(), mode=0o600, may_replace=False)
    write_atomically(folder / "recipient.pub", recipient.public_key.encode(), mode=0o644)
    write_atomically(folder / "intake.key", secrets.token_bytes(32), mode=0o600, may_replace=False)
    bundle = ec.generate_private_key(ec.SECP256R1())
    write_private_key(folder / "bundle.key", bundle)
    public = bundle.public_key()
    write_atomically(
        folder / "bundle.pub",
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        mode=0o644,
    )
    text = _SETTINGS.format(name=_toml(name), masa_url=_toml(masa_url))
    write_atomically(folder / "factory.toml", text.encode(), mode=0o644)
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Founded(
        recipient_key_id=recipient.public_key.key_id.hex(),
        root_sha256=chain[-1].fingerprint(hashes.SHA256()).hex(),
        bundle_key_sha256=hashlib.sha256(spki).hexdigest(),
    )


def _check(name: str, title: str, masa_url: str, levels: int, algorithm: str) -> None:
    if algorithm not in _ALGORITHMS or levels not in (2, 3):
        raise SettingsError("algorithm is P-256, P-384 or Ed25519, levels 2 or 3")
    if not 1 <= len(title) <= _TITLE_LIMIT or not title.isprintable():
        raise SettingsError(f"a title has 1 to {_TITLE_LIMIT} printable characters")
    try:
        fields.take_name(name, "name")
        masa_base_url(masa_url)
    except Malformed as err:
        raise SettingsError(err.reason) from err


def _check_empty(folder: Path) -> None:
    for file in _FILES:
        if (folder / file).exists():
            raise StateError(f"{folder / file} exists: there is a factory in this folder already")


def _found_pki(
    folder: Path, title: str, levels: int, make: Callable[[], PrivateKey], created_at: datetime
) -> tuple[x509.Certificate, ...]:
    root_key = make()
    chain: tuple[x509.Certificate, ...] = (
        _certify(f"{title} Root CA", root_key, None, created_at, path_length=levels - 2),
    )
    issuing_key = root_key
    if levels == 3:
        issuing_key = make()
        issuer = (chain[0], root_key)
        chain = (
            _certify(f"{title} Issuing CA", issuing_key, issuer, created_at, path_length=0),
            *chain,
        )
        write_private_key(folder / "root.key", root_key)
    write_private_key(folder / "issuing.key", issuing_key)
    write_chain(folder / "issuing-chain.pem", chain)
    write_chain(folder / "root.pem", chain[-1:])
    return chain


def _certify(
    title: str,
    key: PrivateKey,
    issuer: tuple[x509.Certificate, PrivateKey] | None,
    created_at: datetime,
    *,
    path_length: int,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    above_key = key if issuer is None else issuer[1]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(created_at)
        .not_valid_after(_NEVER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(above_key.public_key()),
            critical=False,
        )
    )
    if isinstance(above_key, ed25519.Ed25519PrivateKey):
        return builder.sign(above_key, None)
    size = getattr(above_key, "key_size", 256)
    return builder.sign(above_key, hashes.SHA384() if size == 384 else hashes.SHA256())


_CA_USAGE: Final = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
