"""Abuse case 20: a certificate request before its time, for another, or for a bad key.

403 or 400, nothing is signed, and the device may still ask rightly.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from brski.est.csr import build_csr
from brski.pki.keys import encode_spki
from brski.pki.names import ldevid_subject
from brski.pki.signatures import signature_algorithm
from registrar_plugin.telemetry.events import EventKind
from tests.kit import est, pki
from tests.kit.wired import VOUCHER_STATUS, Wired, wired
from tests.kit.world import Device


async def nothing_was_signed(wire: Wired) -> bool:
    kinds = {event.kind for event in await wire.events()}
    return not kinds & {EventKind.LDEVID, EventKind.LDEVID_INTENT}


@pytest.mark.requirement("REG-29")
async def test_before_its_time(tmp_path: Path) -> None:
    """Before any voucher, before it is accepted, and after it was not: 403."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        csr = wire.world.csr(device)
        assert (await wire.enroll(device, csr)).status == 403
        assert (await wire.voucher(device)).status == 200
        assert (await wire.enroll(device, csr)).status == 403
        await wire.report(device, VOUCHER_STATUS, status=False, reason="no")
        assert (await wire.enroll(device, csr)).status == 403
        assert await nothing_was_signed(wire)


def subject_of(device: Device) -> x509.Name:
    return ldevid_subject(device.serial_number, device.issuer)


def own_key(device: Device) -> bytes:
    return build_csr(pki.KeySigner(device.entity.private_key), subject_of(device))


def other_subject(device: Device) -> bytes:
    return build_csr(pki.KeySigner(pki.make_key()), ldevid_subject("SN-2", device.issuer))


def other_issuer(device: Device) -> bytes:
    return build_csr(pki.KeySigner(pki.make_key()), ldevid_subject("SN-1", bytes(20)))


def administrator(device: Device) -> bytes:
    names = [*subject_of(device), x509.NameAttribute(NameOID.COMMON_NAME, "admin")]
    return build_csr(pki.KeySigner(pki.make_key()), x509.Name(names))


def raw(device: Device, key: object = None, **parts: object) -> bytes:
    subject = subject_of(device).public_bytes()
    return est.raw_csr(key or pki.make_key(), subject=subject, **parts)  # type: ignore[arg-type]


def alternative_name(device: Device) -> bytes:
    wanted = est.extension(est.SAN_OID, est.SAN.public_bytes())
    asked = est.attribute(est.EXTENSION_REQUEST, est.extensions(wanted))
    return raw(device, attributes=[asked])


def weak_rsa(device: Device) -> bytes:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    spki = key.public_key().public_bytes(*form)
    algorithm = signature_algorithm(rsa.generate_private_key(65537, 2048).public_key())
    return raw(device, key, spki=spki, algorithm=algorithm, digest=hashes.SHA256())


def exponent_one(device: Device) -> bytes:
    modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    spki = encode_spki(rsa.RSAPublicNumbers(3, modulus).public_key())
    return raw(device, spki=spki.replace(b"\x02\x01\x03", b"\x02\x01\x01"))


def other_possession(device: Device) -> bytes:
    return raw(device, spki=encode_spki(pki.make_key().public_key()))


def no_csr(device: Device) -> bytes:
    return b"\x30\x03\x02\x01\x00"


REQUESTS: list[Callable[[Device], bytes]] = [
    own_key,
    other_subject,
    other_issuer,
    administrator,
    alternative_name,
    weak_rsa,
    exponent_one,
    other_possession,
    no_csr,
]


@pytest.mark.parametrize("bad", REQUESTS, ids=lambda bad: bad.__name__)
async def test_bad_request(tmp_path: Path, bad: Callable[[Device], bytes]) -> None:
    """Refused, nothing intended; the good one of the same device is not."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device("SN-1")
        await wire.accepted(device)
        assert (await wire.enroll(device, bad(device))).status in (400, 403)
        assert await nothing_was_signed(wire)
        assert (await wire.enroll(device, wire.world.csr(device))).status == 200
