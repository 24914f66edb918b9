"""Certificates, a build list and a bundle made without ``brski``: the second implementation.

From docs/idevid-certificate.md and docs/oem-formats.md alone: certificates by the builder of
``cryptography``, CBOR by cbor2, COSE_Sign1 by cwt. As a program it writes the committed files
(data/ORIGIN.md). Every key here is a number that anybody can guess.
"""

from __future__ import annotations

import hashlib
import hmac
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID
from cwt import COSE, COSEKey

CREATED = datetime(2025, 3, 1, 8, 30, 0, tzinfo=UTC)
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
MASA_URL = b"masa.example.com:9443"
HARDWARE_TYPE = "1.3.6.1.4.1.32473.7"
CHIPS = {"SN-1": (b"\x0a", 0, False), "SN-10": (b"\x0b\x0c", 1, False), "SN-2": (b"\x0d", 1, True)}

ROOT_KEY = ec.derive_private_key(0x1001, ec.SECP384R1())
ISSUING_KEY = ec.derive_private_key(0x1002, ec.SECP256R1())
DEVICE_KEYS = {
    serial_number: ec.derive_private_key(0x2001 + place, ec.SECP256R1())
    for place, serial_number in enumerate(CHIPS)
}
ASSEMBLY_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(b"\x31" * 32)
FACTORY_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(b"\x32" * 32)
BATCH_DIGEST = hashlib.sha256(b"a seed batch").digest()
REPLACED = (bytes(range(20)), "SN-2", hashlib.sha256(b"an earlier certificate").digest())


def spki_of(private_key: Any) -> bytes:
    encoded = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(encoded, bytes)
    return encoded


def key_identifier(private_key: Any) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(private_key.public_key())


def aki(identifier: bytes) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(identifier, None, None)


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def numbered(serial_number: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number)])


def masa_url() -> x509.UnrecognizedExtension:
    value = b"\x16" + bytes([len(MASA_URL)]) + MASA_URL
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.32"), value)


def hardware_module_name(serial_number: str) -> x509.SubjectAlternativeName:
    hardware_type = bytes.fromhex("06092b0601040181fd5907")  # HARDWARE_TYPE, by hand
    content = hardware_type + b"\x04" + bytes([len(serial_number)]) + serial_number.encode()
    value = b"\x30" + bytes([len(content)]) + content
    return x509.SubjectAlternativeName(
        [x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), value)]
    )


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def ca_certificate(
    name: str, key: Any, issuer_name: str, issuer_key: Any, number: int
) -> x509.Certificate:
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    digest = hashes.SHA384() if issuer_key is ROOT_KEY else hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer_name))
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
        .not_valid_after(NEVER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(key_identifier(key), critical=False)
        .add_extension(aki(key_identifier(issuer_key).digest), critical=False)
        .sign(issuer_key, digest, ecdsa_deterministic=True)
    )


def idevid(serial_number: str, issuing: x509.Certificate) -> bytes:
    """docs/idevid-certificate.md §1, with the hardware type configured."""
    key = DEVICE_KEYS[serial_number]

    def build(number: int) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(numbered(serial_number))
            .issuer_name(issuing.subject)
            .public_key(key.public_key())
            .serial_number(number)
            .not_valid_before(CREATED)
            .not_valid_after(NEVER)
            .add_extension(aki(key_identifier(ISSUING_KEY).digest), critical=False)
            .add_extension(key_identifier(key), critical=False)
            .add_extension(hardware_module_name(serial_number), critical=False)
            .add_extension(masa_url(), critical=False)
            .sign(ISSUING_KEY, hashes.SHA256(), ecdsa_deterministic=True)
        )

    stand_in = 1 << 158  # 40 00 .. 00: has 20 octets, as the real one will
    laid_out = build(stand_in).tbs_certificate_bytes
    zeroed = laid_out.replace(
        b"\x02\x14" + stand_in.to_bytes(20, "big"), b"\x02\x14" + bytes(20), 1
    )
    mac = hmac.digest(hashlib.sha256(spki_of(ISSUING_KEY)).digest(), zeroed, "sha256")
    number = int.from_bytes(mac[:20], "big") % (1 << 158) | 1 << 158
    return der(build(number))


def assertion(serial_number: str) -> bytes:
    """docs/idevid-certificate.md §2, with both hints."""
    key = DEVICE_KEYS[serial_number]
    return der(
        x509.CertificateBuilder()
        .subject_name(numbered(serial_number))
        .issuer_name(numbered(serial_number))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(NEVER)
        .add_extension(key_identifier(key), critical=False)
        .add_extension(aki(key_identifier(ISSUING_KEY).digest), critical=False)
        .add_extension(masa_url(), critical=False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def signed_chunks(
    label: str, header: dict[str, Any], records: list[Any], key: ed25519.Ed25519PrivateKey
) -> tuple[bytes, bytes]:
    """docs/oem-formats.md §1, one chunk: the file, and the digest that names it."""
    chunk = cbor2.dumps(records)
    digests = [hashlib.sha256(chunk).digest()]
    payload = cbor2.dumps([cbor2.dumps(header, canonical=True), digests])
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    manifest = COSE.new().encode_and_sign(
        payload, COSEKey.from_pem(pem), protected={1: -8}, external_aad=label.encode()
    )
    octets = cbor2.dumps(label) + cbor2.dumps(manifest) + cbor2.dumps(chunk)
    return octets, hashlib.sha256(payload).digest()


def files() -> dict[str, bytes]:
    """What stands in data/, made anew."""
    root = ca_certificate("Example OEM Root CA", ROOT_KEY, "Example OEM Root CA", ROOT_KEY, 1)
    issuing = ca_certificate(
        "Example OEM Issuing CA", ISSUING_KEY, "Example OEM Root CA", ROOT_KEY, 2
    )
    seconds = int(CREATED.timestamp())
    build_list, build_list_digest = signed_chunks(
        "brski build list v1",
        {
            "version": 1,
            "signer": "line-1",
            "signer-key": hashlib.sha256(spki_of(ASSEMBLY_KEY)).digest(),
            "created": seconds,
            "product": "Example Pump 7",
            "generation": 3,
            "entries": len(CHIPS),
            "chunks": 1,
        },
        [
            [chip_id, serial_number, presentation, replace]
            for serial_number, (chip_id, presentation, replace) in CHIPS.items()
        ],
        ASSEMBLY_KEY,
    )
    bundle, _ = signed_chunks(
        "brski bundle v1",
        {
            "version": 1,
            "factory": "factory-1",
            "factory-key": hashlib.sha256(spki_of(FACTORY_KEY)).digest(),
            "batch": BATCH_DIGEST,
            "build-list": build_list_digest,
            "generation": 3,
            "created": seconds,
            "product": "Example Pump 7",
            "profile": "hmac-drbg-p256",
            "chain": [der(issuing), der(root)],
            "records": len(CHIPS),
            "revocations": 1,
            "chunks": 1,
        },
        [
            [
                serial_number,
                presentation,
                idevid(serial_number, issuing),
                0,
                [list(REPLACED)] if replace else [],
            ]
            for serial_number, (_, presentation, replace) in CHIPS.items()
        ],
        FACTORY_KEY,
    )
    return {
        "root.der": der(root),
        "issuing.der": der(issuing),
        "idevid.der": idevid("SN-1", issuing),
        "assertion.der": assertion("SN-1"),
        "build_list_v1.cborseq": build_list,
        "bundle_v1.cborseq": bundle,
    }


def main(folder: Path) -> None:
    for name, octets in files().items():
        (folder / name).write_bytes(octets)
        print(f"{hashlib.sha256(octets).hexdigest()}  {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
