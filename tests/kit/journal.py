"""Certificates put into a journal without anybody asking for them."""

from __future__ import annotations

import asyncio
import hashlib

from cryptography import x509

from brski.pki.keys import certificate_der, encode_spki, spki_sha256
from brski.pki.names import ldevid_subject
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import LDevIDRequest
from registrar_plugin.identity.clients import client_kind
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.store.port import IssuedCertificate
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.telemetry.events import Event, EventKind
from tests.kit import pki
from tests.kit.est_site import Files


async def certified(
    journal: SQLiteJournal,
    owner: pki.Entity,
    device: DeviceKey,
    issuance: Issuance,
    *purposes: str,
    request: bytes = b"",
) -> x509.Certificate:
    """A certificate of *owner*'s for *device*, active, with one line of its own.

    Args:
        purposes: dotted; none: the CA's own.
        request: tells this one from others of the device.
    """
    ca, key = EmbeddedCA(owner.signer), pki.make_key().public_key()
    asked = LDevIDRequest(
        idevid_issuer=device.idevid_issuer,
        serial_number=device.serial_number,
        csr=b"",
        public_key=key,
        subject=ldevid_subject(device.serial_number, device.idevid_issuer),
        extended_key_usages=purposes,
    )
    digest = hashlib.sha256(str(device).encode() + request).digest()
    intent, _ = await SQLiteIssuances(journal.writer).intend(
        device,
        ca.prepare(asked, now=pki.NOW),
        digest,
        issuance,
        Event(at=pki.NOW, kind=EventKind.LDEVID, device=device),
        spki=encode_spki(key),
    )
    issued = await ca.complete(intent.octets)
    assert isinstance(issued, x509.Certificate)
    await journal.complete_ldevid(
        intent,
        IssuedCertificate(
            device=device,
            certificate=certificate_der(issued),
            csr_digest=digest,
            spki_sha256=spki_sha256(issued),
            state="active",
            issued_at=pki.NOW,
        ),
    )
    return issued


def written(files: Files, *devices: DeviceKey) -> None:
    """A certificate for each of *devices* in the journal of *files*."""

    async def run() -> None:
        journal = SQLiteJournal(files.folder / "registrar.db")
        try:
            for device in devices:
                issuance = Issuance(enrollee=client_kind(device) or Issuance().enrollee)
                await certified(journal, files.owner, device, issuance)
        finally:
            await journal.close()

    asyncio.run(run())
