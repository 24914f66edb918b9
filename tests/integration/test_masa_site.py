"""The MASA over TLS: who is known by what, and which status says what."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest

from brski.edge.tls_client import https_client_context
from brski.pki.chain import TrustAnchors
from brski.registry import (
    BODY_LIMIT,
    BRSKI_ROOT,
    JSON,
    REQUEST_AUDIT_LOG,
    VOUCHER_CMS_JSON,
    VOUCHER_COSE,
    VOUCHER_JWS_JSON,
)
from brski.telemetry.audit_log import decode_audit_log
from brski.voucher.model import Assertion
from brski.voucher.yang_types import encode_nonce
from masa_stub.audit import AuditPolicy
from masa_stub.customers import Customer
from masa_stub.passwords import Account, Passwords
from masa_stub.web.locations import Locations
from registrar_plugin.masa_link.http import HTTPMASALink, MASAAccess
from tests.kit import pki
from tests.kit.masa_desk import CUSTOMER, REGISTRAR, STRANGER, desk, read
from tests.kit.masa_site import ROOT, masa_site
from tests.kit.world import make_world

AUDIT_LOG = BRSKI_ROOT + REQUEST_AUDIT_LOG
PASSWORD = "correct ä horse".encode()
PASSWORDS = Passwords({"owner": Account(customer=CUSTOMER.name, password=PASSWORD)})


def basic(user: str, password: bytes) -> dict[str, str]:
    token = base64.b64encode(user.encode() + b":" + password).decode()
    return {"Authorization": f"Basic {token}"}


@pytest.mark.requirement("MASA-10", "MASA-19", "MASA-11")
async def test_a_registrar_is_known_by_its_client_certificate(tmp_path: Path) -> None:
    """Its request is signed under a CA that is new to the MASA; without the certificate: 403."""
    async with desk(tmp_path) as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        await masa.world.sell(masa.device, CUSTOMER.name)
        body = masa.request(by=STRANGER)
        refused = await site.post(body)
        assert (refused.status, refused.media_type) == (403, "text/plain")
        assert "not sold to this domain" in refused.body.decode("utf-8")
        assert (await site.post(body, shown=STRANGER)).status == 403
        granted = await site.post(body, shown=REGISTRAR)
        assert (granted.status, granted.media_type) == (200, VOUCHER_CMS_JSON)
        assert read(granted.body).assertion is Assertion.VERIFIED
        assert "set-cookie" not in granted.fields


@pytest.mark.requirement("MASA-10", "MASA-19")
async def test_a_registrar_is_known_by_its_password(tmp_path: Path) -> None:
    """Wrong ones get 401 and are told how, whatever is wrong with them."""
    async with (
        desk(tmp_path) as masa,
        masa_site(masa.world.wire.masa, tmp_path, passwords=PASSWORDS) as site,
    ):
        await masa.world.sell(masa.device, CUSTOMER.name)
        body = masa.request(by=STRANGER)
        for wrong in (
            basic("owner", b"correct horse"),
            basic("owner", b""),
            basic("nobody", b"\0"),
            basic("", b""),
            {"Authorization": "Basic !"},
            {"Authorization": "Bearer abc"},
            {"Authorization": "Basic " + base64.b64encode(b"owner").decode()},
        ):
            answer = await site.post(body, fields=wrong)
            assert answer.status == 401
            assert answer.fields["www-authenticate"].startswith("Basic ")
            assert b"horse" not in answer.body
        right = basic("owner", PASSWORD)
        assert (await site.post(body, fields=right)).status == 200
        assert (await site.post(body)).status == 403
    assert "horse" not in repr(Account(customer="x", password=b"horse"))


@pytest.mark.requirement("MASA-21", "MASA-20", "MASA-11")
async def test_types_that_are_not_understood_and_not_issued(tmp_path: Path) -> None:
    """415 for what came, 406 for what was wished; the pledges' own format is served."""
    async with desk(tmp_path) as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        await masa.world.sell(masa.device, CUSTOMER.name)
        body = masa.request()
        for came, wished, status in (
            (VOUCHER_CMS_JSON, "*/*", 200),
            (VOUCHER_CMS_JSON, f"text/html, {VOUCHER_CMS_JSON};q=0.5", 200),
            (VOUCHER_CMS_JSON, VOUCHER_JWS_JSON, 406),
            (VOUCHER_JWS_JSON, "*/*", 415),
            (VOUCHER_COSE, VOUCHER_CMS_JSON, 415),
            ("application/pkcs7-mime", VOUCHER_CMS_JSON, 415),
            ("text/plain", "text/html", 415),
        ):
            answer = await site.post(body, fields={"Content-Type": came, "Accept": wished})
            assert answer.status == status, (came, wished)
            if status != 200:
                assert answer.media_type == "text/plain"
                assert answer.body.decode("utf-8").strip()


@pytest.mark.requirement("MASA-11", "AUD-10")
async def test_every_refusal_says_why(tmp_path: Path) -> None:
    """One line of UTF-8 text, and never a redirect, a page or a traceback."""
    async with desk(tmp_path) as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        unknown = masa.world.make_device("SN-404", listed=False)
        for body, path, status in (
            (b"", "", 400),
            (b"<html>", "", 400),
            (bytes(BODY_LIMIT + 1), "", 413),
            (masa.request(device=unknown), "", 404),
            (masa.request(device=unknown), AUDIT_LOG, 404),
            (masa.request(), AUDIT_LOG, 404),
            (masa.request(), "", 403),
            (masa.request(), "/elsewhere", 404),
        ):
            answer = await site.post(body, **({"path": path} if path else {}))  # type: ignore[arg-type]  # a path
            assert answer.status == status
            assert answer.media_type == "text/plain"
            assert 0 < len(answer.body.decode("utf-8")) < 400
            assert b"\n" not in answer.body
        assert (await site.post(b"", method="GET")).status == 405


@pytest.mark.requirement("AUD-3", "AUD-10", "AUD-12", "AUD-13")
async def test_the_log_is_for_owners_of_now_and_of_old(tmp_path: Path) -> None:
    """A stranger learns as much as of a device without vouchers: nothing."""
    async with desk(tmp_path) as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        await masa.world.sell(masa.device, CUSTOMER.name)
        nothing = await site.post(masa.request(), path=AUDIT_LOG)
        assert nothing.status == 404
        assert (await site.post(masa.request())).status == 200
        masa.world.clock.forward(days=1)
        await masa.world.sell(masa.device, STRANGER.issuers[0])
        for registrar, status in ((REGISTRAR, 200), (STRANGER, 200), (OTHER, 404)):
            answer = await site.post(masa.request(by=registrar), path=AUDIT_LOG)
            assert answer.status == status
            if status == 200:
                assert answer.media_type == JSON
                (event,) = decode_audit_log(answer.body).events
                assert event.nonce is None
            else:
                assert answer.body == nothing.body


OTHER = pki.make_registrar(pki.make_pki("Other", not_after=pki.NOT_AFTER))


@pytest.mark.requirement("AUD-12")
async def test_the_log_can_be_for_known_connections_alone(tmp_path: Path) -> None:
    """The signature of the request does not count then: 401, before anything else is told."""
    strict = Customer(name=CUSTOMER.name, anchors=TrustAnchors([REGISTRAR.root]))
    async with (
        desk(tmp_path, customers=[strict], audit=AuditPolicy(only_authenticated=True)) as masa,
        masa_site(masa.world.wire.masa, tmp_path) as site,
    ):
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.voucher()
        assert (await site.post(masa.request(), path=AUDIT_LOG)).status == 401
        answer = await site.post(masa.request(), path=AUDIT_LOG, shown=REGISTRAR)
        assert answer.status == 200


async def test_a_nonced_voucher_needs_nobody_known(tmp_path: Path) -> None:
    """BRSKI's usual case: the device has signed that it saw this registrar."""
    async with desk(tmp_path) as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        nonce = bytes(range(16))
        prior = masa.device.request(STRANGER.certificate, nonce=nonce)
        body = masa.request(
            by=STRANGER, nonce=encode_nonce(nonce), prior_signed_voucher_request=prior
        )
        answer = await site.post(body)
        assert read(answer.body).assertion is Assertion.PROXIMITY


@pytest.mark.requirement("AUD-9")
async def test_the_log_waits_at_an_address_of_its_own(tmp_path: Path) -> None:
    """201 and a path that nobody guesses; who showed a key there shows it here."""
    async with (
        desk(tmp_path) as masa,
        masa_site(masa.world.wire.masa, tmp_path, locations=Locations(time.monotonic)) as site,
    ):
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.voucher()
        assert (await site.post(masa.request(by=STRANGER), path=AUDIT_LOG)).status == 404
        told = await site.post(masa.request(), path=AUDIT_LOG, shown=REGISTRAR)
        assert (told.status, told.body) == (201, b"")
        place = told.fields["location"]
        assert place.startswith(AUDIT_LOG + "/")
        for _ in "12":
            answer = await site.post(b"", path=place, method="GET", shown=REGISTRAR)
            assert (answer.status, answer.media_type) == (200, JSON)
            assert decode_audit_log(answer.body).events
        for path, shown in ((place, None), (place, STRANGER), (place[:-1], REGISTRAR)):
            assert (await site.post(b"", path=path, method="GET", shown=shown)).status == 404
    async with desk(tmp_path / "off") as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        assert (await site.post(b"", path=place, method="GET")).status == 404


async def test_a_registrar_follows_the_log_to_its_address(tmp_path: Path) -> None:
    """The real one, up to the LDevID."""
    async with (
        make_world(tmp_path) as world,
        masa_site(world.wire.masa, tmp_path, locations=Locations(time.monotonic)) as site,
    ):
        access = MASAAccess(
            context=https_client_context([ROOT.certificate]),
            hosts=frozenset({f"localhost:{site.port}"}),
        )
        world.wire.link = HTTPMASALink({"acme": access})
        try:
            device = world.make_device(masa_url=f"localhost:{site.port}")
            assert await world.onboard(device)
        finally:
            await world.wire.link.close()
