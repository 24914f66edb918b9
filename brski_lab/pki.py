"""Keys and certificates of everybody in the laboratory but the OEM, which makes its own."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from brski.edge.atomic_file import write_atomically
from brski.edge.signers.file import write_chain, write_private_key
from brski.registry import ID_KP_CLIENT_AUTH, ID_KP_CMC_RA, ID_KP_SERVER_AUTH

LOOPBACK: Final = "127.0.0.1"
REGISTRAR_USAGES: Final = (ID_KP_CMC_RA, ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH)
SERVER_USAGES: Final = (ID_KP_SERVER_AUTH,)
_LIFE: Final = timedelta(days=30)
_BACKDATED: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A private key and its certificates, leaf first, root last; as files below ``folder``."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]
    folder: Path
    name: str

    @property
    def key_path(self) -> Path:
        """PKCS #8 PEM, 0600."""
        return self.folder / f"{self.name}.key"

    @property
    def chain_path(self) -> Path:
        """The whole chain, PEM."""
        return self.folder / f"{self.name}-chain.pem"

    @property
    def root_path(self) -> Path:
        """The self-signed certificate alone, PEM."""
        return self.folder / f"{self.name}-root.pem"

    def write(self) -> Credential:
        """Put the three files into the folder."""
        write_private_key(self.key_path, self.key)
        write_chain(self.chain_path, self.chain)
        write_chain(self.root_path, self.chain[-1:])
        return self


def make_authority(
    folder: Path, name: str, title: str, *, now: datetime, above: Credential | None = None
) -> Credential:
    """A CA, self-signed or under *above*."""
    return _certify(
        folder,
        name,
        title,
        now=now,
        above=above,
        constraints=x509.BasicConstraints(ca=True, path_length=None),
        usage=_usage(ca=True),
    )


def make_end_entity(
    folder: Path,
    name: str,
    title: str,
    *,
    now: datetime,
    above: Credential,
    usages: Sequence[str] = (),
) -> Credential:
    """A certificate for a server on loopback, a client or a signer."""
    return _certify(
        folder,
        name,
        title,
        now=now,
        above=above,
        constraints=x509.BasicConstraints(ca=False, path_length=None),
        usage=_usage(ca=False),
        usages=usages,
    )


def write_signing_key(folder: Path, name: str) -> ec.EllipticCurvePrivateKey:
    """A bare key: ``name.key`` (PKCS #8 PEM, 0600) and ``name.pub`` (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_private_key(folder / f"{name}.key", key)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_atomically(folder / f"{name}.pub", pem, mode=0o644)
    return key


def _certify(
    folder: Path,
    name: str,
    title: str,
    *,
    now: datetime,
    above: Credential | None,
    constraints: x509.BasicConstraints,
    usage: x509.KeyUsage,
    usages: Sequence[str] = (),
) -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    issuer_key = key if above is None else above.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if above is None else above.chain[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFE)
        .add_extension(constraints, critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if not constraints.ca:
        loopback = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), loopback])
        builder = builder.add_extension(names, critical=False)
    if usages:
        eku = x509.ExtendedKeyUsage([x509.ObjectIdentifier(usage_) for usage_ in usages])
        builder = builder.add_extension(eku, critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    chain = (certificate, *(() if above is None else above.chain))
    return Credential(key=key, chain=chain, folder=folder, name=name).write()


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
