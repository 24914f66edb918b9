"""Abuse case 15: a client names itself in a header, as a proxy would.

TLS ends in the registrar, so no header is believed, from whomever and however often: a certificate
counts if the handshake proved its key. Each attempt is counted, and told in the log.
"""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from urllib.parse import quote

import pytest

from brski.registry import VOUCHER_CMS_JSON
from registrar_plugin.tls_front.claims import CLAIMING, IgnoredClaims
from tests.kit import pki, talk
from tests.kit.wired import REQUEST_VOUCHER, wired


def claims(certificate: pki.Entity) -> list[tuple[str, str]]:
    """The same certificate as each kind of proxy would write it."""
    binary = f":{base64.b64encode(certificate.der).decode()}:"
    escaped = quote(certificate.chain_pem.decode())
    return [(name, binary if name.startswith("client-cert") else escaped) for name in CLAIMING]


async def test_nobody_is_who_a_header_says(tmp_path: Path) -> None:
    """Without TLS certificate 401; with another's key the request is refused like any other."""
    async with wired(tmp_path) as wire, wire.serving() as registrar:
        device, thief = wire.world.make_device("SN-1"), wire.world.make_device("SN-2")
        body = device.request(wire.world.registrar_entity.certificate)
        plain = talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON)
        claiming = talk.request(
            REQUEST_VOUCHER, body, VOUCHER_CMS_JSON, *claims(device.entity)[:3] * 2
        )
        for octets in (plain, claiming):
            reply = await talk.ask(*wire.pledges, octets)
            assert reply is not None
            assert reply.status == 401
            assert (await wire.ask(octets, thief)).status == 403
        assert registrar.front.ignored_claims.count == 2
        assert (await wire.ask(plain, device)).status == 200


@pytest.mark.parametrize("name", sorted(CLAIMING))
async def test_each_way_to_write_it(tmp_path: Path, name: str) -> None:
    """In whatever case, and although the claim is true: what counts is the connection."""
    async with wired(tmp_path) as wire, wire.serving() as registrar:
        device = wire.world.make_device()
        body = device.request(wire.world.registrar_entity.certificate)
        value = dict(claims(device.entity))[name]
        claiming = talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON, (name.upper(), value))
        assert (await wire.ask(claiming, device)).status == 200
        assert registrar.front.ignored_claims.count == 1


def test_a_flood_of_claims_is_no_flood_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Counted each, told once a second."""
    now = [0.0]
    ignored = IgnoredClaims(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            ignored.look(["Host", "X-SSL-Client-Cert"], "192.0.2.1")
            ignored.look(["Host", "Accept"], "192.0.2.1")
        now[0] = 1.0
        ignored.look(["Client-Cert"], "192.0.2.1")
    assert ignored.count == 21
    assert [record.__dict__["ignored"] for record in caplog.records] == [1, 21]
