"""Manufacturers, devices and a look-up in memory, for tests of who is it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import Unavailable
from brski.idevid.assertion import assertion_certificate
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from brski.pki import signatures
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import idevid_issuer_of
from brski.pki.keys import certificate_der, spki_of
from brski.pki.names import device_serial_number
from brski.rates import Rate
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion, VoucherRequest
from brski.voucher.yang_json import encode_voucher_request
from registrar_plugin.identity.budget import RateBudget
from registrar_plugin.identity.model import VerifiedIDevID
from registrar_plugin.identity.policy import Manufacturer
from registrar_plugin.identity.verify import IdentityVerifier
from tests.kit import pki

SERIAL = "SN-0001"
NONCE = "AAECAwQFBgcICQoLDA0ODw=="
AMPLE = Rate(per_s=1e6, burst=1e6)


def record_of(
    idevid: pki.Entity,
    *,
    presentation: Presentation = Presentation.ASSERTED,
    status: DeviceStatus = DeviceStatus.ACTIVE,
    **changes: Any,
) -> DeviceRecord:
    """The honest record of *idevid*, but for *changes*."""
    values: dict[str, Any] = {
        "idevid_issuer": idevid_issuer_of(idevid.certificate),
        "serial_number": device_serial_number(idevid.certificate),
        "certificate": idevid.der,
        "spki": spki_of(idevid.certificate),
        "intermediates": tuple(certificate_der(c) for c in idevid.intermediates),
        "presentation": presentation,
        "derivation_profile": "hmac-drbg-p256",
        "batch_digest": bytes(32),
        "chunk": 0,
        "generation": 1,
        "status": status,
        "status_reason": "" if status is DeviceStatus.ACTIVE else "reported stolen",
    }
    return DeviceRecord(**values | changes)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One call of the look-up."""

    sources: frozenset[str]
    idevid_issuer: bytes | None
    serial_number: str
    spki_sha256: bytes | None
    fresh: bool


@dataclass
class FakeLookup:
    """Records by source. Honest sources narrow by issuer and serial number, *blind* ones do not."""

    records: dict[str, list[DeviceRecord]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    blind: set[str] = field(default_factory=set)
    asked: list[Question] = field(default_factory=list)
    closed: bool = False

    async def find(
        self,
        sources: Collection[str],
        idevid_issuer: bytes | None,
        serial_number: str,
        *,
        spki_sha256: bytes | None,
        fresh: bool = False,
    ) -> Mapping[str, tuple[DeviceRecord, ...]]:
        self.asked.append(
            Question(
                sources=frozenset(sources),
                idevid_issuer=idevid_issuer,
                serial_number=serial_number,
                spki_sha256=spki_sha256,
                fresh=fresh,
            )
        )
        if self.silent & set(sources):
            raise Unavailable("a source is silent")
        return {name: self._answer(name, idevid_issuer, serial_number) for name in sources}

    def _answer(
        self, name: str, idevid_issuer: bytes | None, serial_number: str
    ) -> tuple[DeviceRecord, ...]:
        return tuple(
            record
            for record in self.records.get(name, [])
            if name in self.blind
            or (
                record.serial_number == serial_number
                and idevid_issuer in (None, record.idevid_issuer)
            )
        )

    async def close(self) -> None:
        self.closed = True


def asserted_chain(
    key: signatures.PrivateKey, serial_number: str, **claims: Any
) -> tuple[x509.Certificate, ...]:
    """What a device without a certificate shows in TLS."""
    return (assertion_certificate(pki.KeySigner(key), serial_number, **claims),)


def pledge_request(
    key: signatures.PrivateKey,
    serial_number: str,
    registrar: x509.Certificate,
    **changes: Any,
) -> bytes:
    """A pledge voucher-request signed by *key*, which it names by identifier; no certificate."""
    values: dict[str, Any] = {
        "serial_number": serial_number,
        "assertion": Assertion.PROXIMITY,
        "nonce": NONCE,
        "proximity_registrar_cert": certificate_der(registrar),
    }
    payload = encode_voucher_request(VoucherRequest(**values | changes))
    return CMS.sign(payload, pki.KeySigner(key), name_by_key_identifier=True)


def manufacturer(name: str, issuing: pki.Entity, **changes: Any) -> Manufacturer:
    """A manufacturer with a source of its own name, whose serial numbers start with ``SN-``."""
    values: dict[str, Any] = {
        "name": name,
        "anchors": TrustAnchors([issuing.root]),
        "source": name,
        "serial_pattern": re.compile(r"SN-.*"),
    }
    return Manufacturer(**values | changes)


def verifier(
    manufacturers: Sequence[Manufacturer],
    lookup: FakeLookup | None,
    registrar: x509.Certificate | None,
    *,
    now: datetime = pki.NOW,
    **changes: Any,
) -> IdentityVerifier:
    """A verifier at a fixed time with an ample budget."""
    values: dict[str, Any] = {
        "serialization": CMS,
        "clock": lambda: now,
        "lookup": lookup,
        "registrar_certificate": registrar,
        "budget": RateBudget(clock=lambda: 0.0, per_address=AMPLE, in_all=AMPLE),
    }
    return IdentityVerifier(manufacturers, **values | changes)


@dataclass
class World:
    """Two trusted manufacturers, A with one device; a registrar; whoever may come."""

    a: pki.Entity = field(default_factory=lambda: pki.make_pki("A", levels=3))
    b: pki.Entity = field(default_factory=lambda: pki.make_pki("B", levels=2))
    registrar: pki.Entity = field(
        default_factory=lambda: pki.make_registrar(pki.make_root("Owner"))
    )
    lookup: FakeLookup = field(default_factory=FakeLookup)

    def __post_init__(self) -> None:
        self.device = pki.make_idevid(self.a, SERIAL)
        self.lookup.records["A"] = [record_of(self.device)]

    def verifier(self, *manufacturers: Manufacturer, **changes: Any) -> IdentityVerifier:
        chosen = manufacturers or (self.maker("A"), self.maker("B"))
        return verifier(chosen, self.lookup, self.registrar.certificate, **changes)

    def maker(self, name: str, **changes: Any) -> Manufacturer:
        return manufacturer(name, self.a if name == "A" else self.b, **changes)

    def request(self, key: Any, serial_number: str = SERIAL, **changes: Any) -> bytes:
        return pledge_request(key, serial_number, self.registrar.certificate, **changes)

    async def asserts(
        self,
        key: Any = None,
        serial_number: str = SERIAL,
        *,
        by: IdentityVerifier | None = None,
        **claims: Any,
    ) -> VerifiedIDevID:
        """Somebody asserts *serial_number* with *key*, and is right in all else."""
        key = key or self.device.private_key
        return await (by or self.verifier()).verify(
            asserted_chain(key, serial_number, **claims), self.request(key, serial_number)
        )

    async def carries(
        self, idevid: pki.Entity | None = None, *, by: IdentityVerifier | None = None
    ) -> VerifiedIDevID:
        """Somebody shows *idevid* with its intermediates, and is right in all else."""
        idevid = idevid or self.device
        serial_number = idevid.certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0]
        return await (by or self.verifier()).verify(
            idevid.chain[:-1], self.request(idevid.private_key, str(serial_number.value))
        )

    async def shows_up(self, way: str) -> VerifiedIDevID:
        """The device itself, ``asserted`` or ``carried``."""
        return await (self.asserts() if way == "asserted" else self.carries())

    def chain(self, way: str, key: Any = None) -> tuple[x509.Certificate, ...]:
        """What the device shows in TLS, ``asserted`` or ``carried``."""
        if way == "carried":
            return self.device.chain[:-1]
        return asserted_chain(key or self.device.private_key, SERIAL)


def off(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    """Take a gate away."""
    monkeypatch.setattr(owner, name, lambda *_args, **_kwargs: None)
