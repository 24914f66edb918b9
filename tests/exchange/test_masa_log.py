"""What the MASA's log says of a device, to the octet where registrars read it."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from brski.errors import DeviceUnknown
from brski.pki.extensions import domain_id
from brski.pki.keys import certificate_der
from brski.registry import VOUCHER_CMS_JSON
from brski.telemetry.audit_log import encode_audit_log
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion
from brski.voucher.yang_types import encode_nonce
from masa_stub.audit import AuditPolicy
from tests.kit import pki
from tests.kit.masa_desk import CUSTOMER, OWNER, REGISTRAR, Desk, desk


async def log_of(masa: Desk, *, by: pki.Entity = REGISTRAR) -> dict[str, Any]:
    """As *by* gets it."""
    found = await masa.world.wire.masa.audit_log(masa.request(by=by), VOUCHER_CMS_JSON)
    document = json.loads(encode_audit_log(found))
    assert isinstance(document, dict)
    return document


def named(entity: pki.Entity) -> str:
    return base64.b64encode(domain_id(entity.certificate)).decode()


@pytest.mark.requirement("MASA-12", "AUD-1", "AUD-4", "AUD-5")
async def test_every_voucher_stands_in_it(tmp_path: Path) -> None:
    """With the nonce as it was spelt, with null where there was none, newest first."""
    async with desk(tmp_path, allow_logged=True) as masa:
        nonce = encode_nonce(b"\xfb\xef\xbe" * 6)
        await masa.voucher(nonce=nonce)
        masa.world.clock.forward(hours=1)
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.voucher()
        assert await log_of(masa) == {
            "version": 1,
            "events": [
                {
                    "date": "2025-06-01T13:00:00Z",
                    "domainID": base64.b64encode(domain_id(OWNER.root)).decode(),
                    "nonce": None,
                    "assertion": "verified",
                },
                {
                    "date": "2025-06-01T12:00:00Z",
                    "domainID": named(OWNER),
                    "nonce": nonce,
                    "assertion": "logged",
                },
            ],
        }


@pytest.mark.requirement("AUD-7", "AUD-8")
async def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """Duplicates of a domain, with a nonce and without, and what was cut for length."""
    policy = AuditPolicy(most=1)
    async with desk(tmp_path, allow_logged=True, audit=policy) as masa:
        for number in range(3):
            masa.world.clock.forward(minutes=1)
            await masa.voucher(nonce=encode_nonce(bytes([number] * 16)))
        assert (await log_of(masa))["truncation"] == {
            "nonced duplicates": 2,
            "nonceless duplicates": 0,
            "arbitrary": 0,
        }
        await masa.world.sell(masa.device, CUSTOMER.name)
        for _ in "12":
            masa.world.clock.forward(minutes=1)
            await masa.voucher()
        found = await log_of(masa)
        (event,) = found["events"]
        assert (event["nonce"], event["truncated"]) == (None, 1)
        assert found["truncation"] == {
            "nonced duplicates": 2,
            "nonceless duplicates": 1,
            "arbitrary": 1,
        }


@pytest.mark.requirement("AUD-10", "AUD-12")
async def test_a_domain_id_opens_no_log(tmp_path: Path) -> None:
    """Whoever made the thief's CA has copied the owner's SubjectKeyIdentifier into it."""
    ski = x509.SubjectKeyIdentifier(domain_id(OWNER.certificate))
    thief = pki.make_registrar(pki.make_root("Thief", ski=False, extra=[(ski, False)]))
    async with desk(tmp_path, allow_logged=True) as masa:
        await masa.voucher(nonce=encode_nonce(bytes(16)))
        assert (await log_of(masa))["events"][0]["domainID"] == named(OWNER)
        assert domain_id(thief.issuers[0]) == domain_id(OWNER.certificate)
        with pytest.raises(DeviceUnknown):
            await log_of(masa, by=thief)


@pytest.mark.requirement("MASA-9")
@pytest.mark.parametrize("said", list(Assertion))
async def test_what_the_registrar_says_of_the_assertion_counts_for_nothing(
    tmp_path: Path, said: Assertion
) -> None:
    """It gets what the MASA knows."""
    async with desk(tmp_path, allow_logged=True) as masa:
        voucher = await masa.voucher(nonce=encode_nonce(bytes(16)), assertion=said)
        assert voucher.assertion is Assertion.LOGGED


@pytest.mark.requirement("MASA-14", "VR-20")
async def test_revocation_is_not_asked_of_the_device(tmp_path: Path) -> None:
    """domain-cert-revocation-checks is there and false; nothing of the request comes along."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        opened = CMS.open(await masa.ask(masa.request()))
        (body,) = json.loads(opened.payload).values()
        assert body["domain-cert-revocation-checks"] is False
        assert "prior-signed-voucher-request" not in body
        assert "proximity-registrar-cert" not in body


@pytest.mark.requirement("MASA-6", "REG-13")
async def test_a_registrar_that_renewed_its_certificate_is_the_same(tmp_path: Path) -> None:
    """The device has seen the former one, with the same key."""
    renewed = pki.make_registrar(
        OWNER, key=REGISTRAR.private_key, not_after=pki.NOW + timedelta(days=30)
    )
    assert certificate_der(renewed.certificate) != REGISTRAR.der
    nonce = bytes(range(16))
    async with desk(tmp_path) as masa:
        prior = masa.device.request(REGISTRAR.certificate, nonce=nonce)
        voucher = await masa.voucher(
            by=renewed, nonce=encode_nonce(nonce), prior_signed_voucher_request=prior
        )
        assert voucher.assertion is Assertion.PROXIMITY
