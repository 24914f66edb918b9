"""A MASA with one device, and registrars that ask it for vouchers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from brski.errors import OnboardingError
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import encode_idevid_issuer
from brski.pki.keys import parse_certificate
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski.voucher.model import Voucher, VoucherRequest
from brski.voucher.yang_json import decode_voucher, encode_voucher_request
from masa_stub.audit import USUAL_AUDIT, AuditPolicy
from masa_stub.customers import ANONYMOUS, Caller, Customer
from masa_stub.issue import IssuePolicy
from masa_stub.rates import RegistrarRates
from tests.kit import pki
from tests.kit.world import Device, World, make_world

OWNER = pki.make_pki("Known Owner", not_after=pki.NOT_AFTER)
REGISTRAR = pki.make_registrar(OWNER)
STRANGER = pki.make_registrar(pki.make_pki("Stranger", not_after=pki.NOT_AFTER))
CUSTOMER = Customer(name="known-owner", anchors=TrustAnchors([OWNER.root]))


@dataclass
class Desk:
    """One MASA, one device of its own."""

    world: World
    device: Device

    def request(
        self,
        *,
        by: pki.Entity = REGISTRAR,
        chain: Sequence[x509.Certificate] | None = None,
        device: Device | None = None,
        **leaves: object,
    ) -> bytes:
        """A registrar's voucher-request, without a nonce unless *leaves* has one."""
        device = device or self.device
        asked = VoucherRequest(
            serial_number=device.serial_number,
            created_on=self.world.clock(),
            idevid_issuer=encode_idevid_issuer(device.issuer),
        )
        shown = by.chain if chain is None else chain
        payload = encode_voucher_request(replace(asked, **leaves))  # type: ignore[arg-type]  # any leaf
        signer = pki.KeySigner(by.private_key, tuple(shown))
        return CMS.sign(payload, signer, certificates=tuple(shown), signing_time=self.world.clock())

    async def ask(self, body: bytes, caller: Caller = ANONYMOUS) -> bytes:
        answer = await self.world.wire.masa.request_voucher(body, VOUCHER_CMS_JSON, caller)
        return answer.body

    async def voucher(self, *, caller: Caller = ANONYMOUS, **request: object) -> Voucher:
        return read(await self.ask(self.request(**request), caller))  # type: ignore[arg-type]  # its arguments

    async def refusal(
        self, error: type[OnboardingError], *, caller: Caller = ANONYMOUS, **request: object
    ) -> str:
        """No voucher, and the MASA has written down why."""
        with pytest.raises(error) as refused:
            await self.voucher(caller=caller, **request)
        (last,) = await self.world.masa_store.last_refusals(1)
        assert last.serial_number == self.device.serial_number
        assert last.code == refused.value.code
        return refused.value.reason


def read(octets: bytes) -> Voucher:
    return decode_voucher(CMS.open(octets).payload)


def pinned(voucher: Voucher) -> x509.Certificate:
    assert voucher.pinned_domain_cert is not None
    return parse_certificate(voucher.pinned_domain_cert)


@asynccontextmanager
async def desk(
    folder: Path,
    *,
    asserting: bool = False,
    customers: Sequence[Customer] = (CUSTOMER,),
    audit: AuditPolicy = USUAL_AUDIT,
    rates: RegistrarRates | None = None,
    **policy: object,
) -> AsyncIterator[Desk]:
    """Open one in *folder*; *policy* are :class:`~masa_stub.issue.IssuePolicy`'s fields."""
    issue = IssuePolicy(**policy)  # type: ignore[arg-type]  # its fields
    folder.mkdir(exist_ok=True)
    async with make_world(
        folder, issue=issue, customers=customers, masa_audit=audit, masa_rates=rates
    ) as world:
        yield Desk(world=world, device=world.make_device(asserting=asserting))


def crl(
    *revoked: x509.Certificate, by: pki.Entity = OWNER, until: datetime
) -> x509.CertificateRevocationList:
    """A revocation list of *by*'s, DER when written; next update at *until*."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.certificate.subject)
        .last_update(pki.NOW - timedelta(days=1))
        .next_update(until)
    )
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(pki.NOW).build())
    return builder.sign(by.private_key, hashes.SHA256())
