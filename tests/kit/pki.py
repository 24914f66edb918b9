"""Certificates for tests: every knob that a test wants wrong has a name, everything else is right.

Dates are fixed: everything is valid at ``NOW``. Keys are new for each call unless given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from brski import registry
from brski.pki import extensions, names, signatures
from brski.pki.signer import PublicKey

NOT_BEFORE: Final = datetime(2024, 1, 1, tzinfo=UTC)
NOW: Final = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)
NOT_AFTER: Final = datetime(2034, 1, 1, tzinfo=UTC)
NEVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
BEFORE: Final = datetime(2023, 6, 1, tzinfo=UTC)  # nothing is valid yet
AFTER: Final = datetime(2040, 1, 1, tzinfo=UTC)  # only IDevIDs and OEM CAs still are

Digest = hashes.SHA224 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512

MASA_URL: Final = "masa.example.com:9443"
SERIAL_NUMBER: Final = "SN-0001"
REGISTRAR_EKUS: Final = (
    registry.ID_KP_CMC_RA,
    registry.ID_KP_SERVER_AUTH,
    registry.ID_KP_CLIENT_AUTH,
)


_MLDSA: Final[dict[str, type[signatures.MLDSAPrivateKey]]] = {
    "ML-DSA-44": mldsa.MLDSA44PrivateKey,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey,
}


def make_key(kind: str = "P-256") -> signatures.PrivateKey:
    """A new private key: P-256, P-384, P-521, Ed25519, ML-DSA-44 ..., RSA-1024 ... (re-used)."""
    if kind.startswith("RSA-"):
        return _rsa_key(int(kind.removeprefix("RSA-")))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in _MLDSA:
        return _MLDSA[kind].generate()
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    return ec.generate_private_key(curves[kind])


@lru_cache(maxsize=8)
def _rsa_key(bits: int, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


@dataclass(frozen=True, slots=True)
class KeySigner:
    """The Signer port over a key in memory."""

    private_key: signatures.PrivateKey
    chain: tuple[x509.Certificate, ...] = ()
    deterministic: bool = True

    @property
    def public_key(self) -> PublicKey:
        return self.private_key.public_key()

    def sign(self, data: bytes) -> bytes:
        return signatures.sign(self.private_key, data, deterministic=self.deterministic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A certificate, its private key, and the certificates above it, root last."""

    certificate: x509.Certificate
    private_key: signatures.PrivateKey = field(repr=False)
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """Leaf first, root last."""
        return (self.certificate, *self.issuers)

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """Between this certificate and its root, its issuer first."""
        return self.issuers[:-1]

    @property
    def root(self) -> x509.Certificate:
        return self.chain[-1]

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def chain_pem(self) -> bytes:
        """Leaf first, root left out, as a server would send it."""
        sent = self.chain[:-1] if self.issuers else self.chain
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in sent)

    @property
    def key_pem(self) -> bytes:
        """PKCS #8, not encrypted."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def signer(self) -> KeySigner:
        """Signs the same octets each time; its chain goes up to the root, included."""
        return KeySigner(self.private_key, self.chain)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certify(
    subject: x509.Name,
    *,
    issuer: Entity | None = None,
    key: signatures.PrivateKey | None = None,
    not_before: datetime = NOT_BEFORE,
    not_after: datetime = NOT_AFTER,
    basic_constraints: x509.BasicConstraints | None = None,
    key_usage: x509.KeyUsage | None = None,
    ekus: Sequence[str] = (),
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ski: bool = True,
    aki: bool = True,
    issuer_name: x509.Name | None = None,
    digest: Digest | None = None,
    deterministic: bool = True,
) -> Entity:
    """One certificate with what is asked and nothing else; self-signed without *issuer*.

    Args:
        subject: as it shall be.
        issuer: whose key signs; its name is the issuer name unless *issuer_name* says otherwise.
        key: of the subject; a new P-256 key by default.
        basic_constraints: critical if they say CA.
        key_usage: critical.
        ekus: dotted.
        extra: further extensions, each with its critical flag.
        aki: names the issuer's SubjectKeyIdentifier, or its key if it has none.
        digest: another than the issuer's key dictates.
    """
    key = key or make_key()
    signing_key = issuer.private_key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name or (issuer.certificate.subject if issuer else subject))
        .public_key(key.public_key())
        .serial_number(_certificate_number(subject, key, not_before, not_after))
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    wanted: list[tuple[x509.ExtensionType, bool]] = []
    if basic_constraints is not None:
        wanted.append((basic_constraints, basic_constraints.ca))
    if key_usage is not None:
        wanted.append((key_usage, True))
    if ekus:
        wanted.append((x509.ExtendedKeyUsage([x509.ObjectIdentifier(o) for o in ekus]), False))
    if ski:
        wanted.append((x509.SubjectKeyIdentifier(key_identifier(key.public_key())), False))
    if aki:
        wanted.append((_authority(issuer, key), False))
    for value, critical in (*wanted, *extra):
        builder = builder.add_extension(value, critical)
    certificate = _sign(builder, signing_key, digest, deterministic)
    return Entity(certificate=certificate, private_key=key, issuers=issuer.chain if issuer else ())


def _sign(
    builder: x509.CertificateBuilder,
    key: signatures.PrivateKey,
    digest: Digest | None,
    deterministic: bool,
) -> x509.Certificate:
    if isinstance(key, rsa.RSAPrivateKey):
        return builder.sign(key, digest or hashes.SHA256())
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return builder.sign(key, None)
    default = hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()
    return builder.sign(key, digest or default, ecdsa_deterministic=deterministic)


def key_identifier(public_key: Any) -> bytes:
    """SHA-1 of the key's BIT STRING, by the library's own way."""
    return x509.SubjectKeyIdentifier.from_public_key(public_key).digest


def _authority(issuer: Entity | None, key: signatures.PrivateKey) -> x509.AuthorityKeyIdentifier:
    if issuer is None:
        return x509.AuthorityKeyIdentifier(key_identifier(key.public_key()), None, None)
    identifier = extensions.subject_key_identifier(issuer.certificate)
    if identifier is None:
        identifier = key_identifier(issuer.private_key.public_key())
    return x509.AuthorityKeyIdentifier(identifier, None, None)


def _certificate_number(subject: x509.Name, key: signatures.PrivateKey, *dates: datetime) -> int:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    seed = subject.public_bytes() + spki + b"".join(d.isoformat().encode() for d in dates)
    return int.from_bytes(hashlib.sha256(seed).digest()[:16], "big") | 1 << 120


def key_usage(*names_: str) -> x509.KeyUsage:
    """A KeyUsage with these bits set: ``digital_signature``, ``key_cert_sign``, ``crl_sign`` ..."""
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: bit in names_ for bit in bits})


CA_KEY_USAGE: Final = key_usage("key_cert_sign", "crl_sign")
LEAF_KEY_USAGE: Final = key_usage("digital_signature")


def make_root(name: str = "Example Root CA", *, kind: str = "P-256", **knobs: Any) -> Entity:
    """A self-signed CA."""
    return make_ca(name, None, kind=kind, **knobs)


def make_ca(
    name: str,
    issuer: Entity | None,
    *,
    kind: str = "P-256",
    path_length: int | None = None,
    **knobs: Any,
) -> Entity:
    """A CA under *issuer*; further knobs are :func:`certify`'s."""
    knobs.setdefault("key", None)
    knobs["key"] = knobs["key"] or make_key(kind)
    knobs.setdefault("basic_constraints", x509.BasicConstraints(ca=True, path_length=path_length))
    knobs.setdefault("key_usage", CA_KEY_USAGE)
    return certify(common_name(name), issuer=issuer, **knobs)


def make_pki(
    name: str = "Example OEM", *, levels: int = 3, kind: str = "P-256", **knobs: Any
) -> Entity:
    """The issuing CA of a PKI: two levels are root and leaf, three have a CA between.

    Its ``issuers`` hold the root; CAs of an OEM do not end (RFC 8995 §2.3; 802.1AR).
    """
    knobs.setdefault("not_after", NEVER)
    issuing = make_root(f"{name} Root CA", kind=kind, **knobs)
    for level in range(2, levels):
        issuing = make_ca(
            f"{name} Issuing CA {level - 1}",
            issuing,
            kind=kind,
            path_length=levels - 1 - level,
            **knobs,
        )
    return issuing


def make_idevid(
    issuer: Entity,
    serial_number: str = SERIAL_NUMBER,
    *,
    kind: str = "P-256",
    masa_url: str | None = MASA_URL,
    **knobs: Any,
) -> Entity:
    """An IDevID as the factory makes them; further knobs are :func:`certify`'s."""
    knobs.setdefault("key", None)
    knobs["key"] = knobs["key"] or make_key(kind)
    knobs.setdefault("not_after", NEVER)
    knobs.setdefault("basic_constraints", x509.BasicConstraints(ca=False, path_length=None))
    knobs.setdefault("key_usage", LEAF_KEY_USAGE)
    extra = list(knobs.pop("extra", ()))
    if masa_url is not None:
        extra.append((extensions.masa_url_extension(masa_url), False))
    subject = knobs.pop("subject", None) or names.idevid_subject(serial_number)
    return certify(subject, issuer=issuer, extra=extra, **knobs)


def make_registrar(
    issuer: Entity | None,
    *,
    name: str = "registrar.example.com",
    addresses: Sequence[str] = ("127.0.0.1",),
    kind: str = "P-256",
    ekus: Sequence[str] = REGISTRAR_EKUS,
    **knobs: Any,
) -> Entity:
    """A registrar's certificate: cmcRA, serverAuth, clientAuth, DNS name and loopback."""
    return _make_server(name, issuer, addresses=addresses, kind=kind, ekus=ekus, **knobs)


def make_server(
    issuer: Entity | None,
    *,
    name: str = "masa.example.com",
    addresses: Sequence[str] = ("127.0.0.1",),
    kind: str = "P-256",
    ekus: Sequence[str] = (ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,),
    **knobs: Any,
) -> Entity:
    """A TLS server's certificate: serverAuth, DNS name and loopback in the SAN."""
    return _make_server(name, issuer, addresses=addresses, kind=kind, ekus=ekus, **knobs)


def _make_server(
    name: str,
    issuer: Entity | None,
    *,
    addresses: Sequence[str],
    kind: str,
    **knobs: Any,
) -> Entity:
    knobs.setdefault("key", None)
    knobs["key"] = knobs["key"] or make_key(kind)
    knobs.setdefault("basic_constraints", x509.BasicConstraints(ca=False, path_length=None))
    knobs.setdefault("key_usage", LEAF_KEY_USAGE)
    san = x509.SubjectAlternativeName(
        [x509.DNSName(name), *(x509.IPAddress(ip_address(address)) for address in addresses)]
    )
    extra = [*knobs.pop("extra", ()), (san, False)]
    return certify(common_name(name), issuer=issuer, extra=extra, **knobs)


def make_masa_signer(
    issuer: Entity | None, *, name: str = "Example MASA", kind: str = "P-256", **knobs: Any
) -> Entity:
    """The certificate that signs vouchers."""
    knobs.setdefault("key", None)
    knobs["key"] = knobs["key"] or make_key(kind)
    knobs.setdefault("basic_constraints", x509.BasicConstraints(ca=False, path_length=None))
    knobs.setdefault("key_usage", LEAF_KEY_USAGE)
    return certify(common_name(name), issuer=issuer, **knobs)


CRL_URL: Final = "http://192.0.2.80/owner.crl"


def points_to(*addresses: str) -> tuple[x509.ExtensionType, bool]:
    """A CRLDistributionPoints extension, for ``extra``."""
    points = [
        x509.DistributionPoint([x509.UniformResourceIdentifier(address)], None, None, None)
        for address in addresses
    ]
    return x509.CRLDistributionPoints(points), False


def make_crl(
    issuer: Entity,
    *revoked: x509.Certificate,
    this_update: datetime = NOW,
    next_update: datetime = AFTER,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    digest: Digest | None = hashes.SHA256(),  # noqa: B008 - a value
    signed_by: Entity | None = None,
) -> bytes:
    """A revocation list of *issuer*, DER, that has *revoked*."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(this_update)
        .next_update(next_update)
    )
    for certificate in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(certificate.serial_number)
            .revocation_date(this_update)
            .build()
        )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    key: Any = (signed_by or issuer).private_key
    made = builder.sign(key, digest)
    return made.public_bytes(Encoding.DER)
