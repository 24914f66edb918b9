"""A registrar made of openssl and curl asks our MASA: what it gets is told by RFC 8995 alone."""

from __future__ import annotations

import asyncio
import base64
import json
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from masa_stub.passwords import Account, Passwords
from tests.kit import pki
from tests.kit.masa_desk import CUSTOMER, OWNER, REGISTRAR, STRANGER, Desk, desk
from tests.kit.masa_site import ROOT, Site, masa_site
from tests.kit.programs import require_program

PASSWORDS = Passwords({"owner": Account(customer=CUSTOMER.name, password=b"horse")})
JSON_VOUCHER = "1.2.840.113549.1.9.16.1.40"
TYPE = "application/voucher-cms+json"


async def run(folder: Path, *arguments: str) -> bytes:
    """Run a program in *folder*; what it printed."""
    process = await asyncio.create_subprocess_exec(*arguments, cwd=folder, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out


async def sign(folder: Path, registrar: pki.Entity, request: dict[str, Any]) -> None:
    """``request.cms``, by openssl."""
    (folder / "request.json").write_text(json.dumps({"ietf-voucher-request:voucher": request}))
    (folder / "signer.pem").write_bytes(registrar.certificate.public_bytes(Encoding.PEM))
    (folder / "signer.key").write_bytes(registrar.key_pem)
    above = b"".join(c.public_bytes(Encoding.PEM) for c in registrar.issuers)
    (folder / "above.pem").write_bytes(above)
    await run(
        folder, require_program("openssl", "openssl"), "cms", "-sign", "-binary", "-nodetach",
        "-nosmimecap", "-in", "request.json", "-outform", "DER", "-out", "request.cms",
        "-econtent_type", JSON_VOUCHER, "-md", "sha256",
        "-signer", "signer.pem", "-inkey", "signer.key", "-certfile", "above.pem",
    )  # fmt: skip


async def post(
    folder: Path, site: Site, *arguments: str, path: str = "requestvoucher"
) -> tuple[int, str, bytes]:
    """Status, media type and body, by curl."""
    (folder / "service.pem").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    out = await run(
        folder, require_program("curl", "curl"), "-sS", "--max-time", "20",
        "--cacert", "service.pem", "-H", f"Content-Type: {TYPE}", "--data-binary",
        "@request.cms", "-o", "answer", "-w", "%{http_code} %{content_type}", *arguments,
        f"https://localhost:{site.port}/.well-known/brski/{path}",
    )  # fmt: skip
    status, _, media_type = out.decode().partition(" ")
    return int(status), media_type, (folder / "answer").read_bytes()


async def payload(folder: Path, masa: Desk) -> dict[str, Any]:
    """Of the voucher in ``answer``, once openssl has verified it to the MASA's anchor."""
    (anchor,) = masa.world.wire.masa.anchors
    (folder / "anchor.pem").write_bytes(anchor.public_bytes(Encoding.PEM))
    out = await run(
        folder, require_program("openssl", "openssl"), "cms", "-verify", "-inform", "DER",
        "-in", "answer", "-CAfile", "anchor.pem", "-purpose", "any", "-binary",
    )  # fmt: skip
    (voucher,) = json.loads(out).values()
    assert isinstance(voucher, dict)
    return voucher


def of_today(masa: Desk) -> datetime:
    """openssl signs at its own time; the MASA's clock goes with it."""
    masa.world.clock.now = datetime.now(UTC)
    return masa.world.clock.now


@pytest.mark.requirement("MASA-10", "MASA-13", "MASA-19", "MASA-11", "VR-7")
@pytest.mark.parametrize("known_by", ["signature", "certificate", "password"])
async def test_a_voucher_without_nonce(tmp_path: Path, known_by: str) -> None:
    """Asked for in each of the ways in which a registrar is known; a stranger is told why not."""
    async with (
        desk(tmp_path) as masa,
        masa_site(masa.world.wire.masa, tmp_path, passwords=PASSWORDS) as site,
    ):
        now = of_today(masa)
        await masa.world.sell(masa.device, CUSTOMER.name)
        signer = REGISTRAR if known_by == "signature" else STRANGER
        await sign(tmp_path, signer, {"serial-number": masa.device.serial_number})
        shown: tuple[str, ...] = ()
        if known_by == "certificate":
            (tmp_path / "tls.pem").write_bytes(REGISTRAR.chain_pem)
            (tmp_path / "tls.key").write_bytes(REGISTRAR.key_pem)
            shown = ("--cert", "tls.pem", "--key", "tls.key")
        if known_by == "password":
            shown = ("-u", "owner:horse")
        if shown:
            status, media_type, said = await post(tmp_path, site)
            assert (status, media_type) == (403, "text/plain; charset=utf-8")
            assert "not sold" in said.decode()
        status, media_type, _ = await post(tmp_path, site, *shown)
        assert (status, media_type) == (200, TYPE)
        voucher = await payload(tmp_path, masa)
        pinned = signer.root.public_bytes(Encoding.DER)
        assert base64.b64decode(voucher["pinned-domain-cert"]) == pinned
        assert voucher["assertion"] == "verified"
        assert "nonce" not in voucher
        ends = datetime.fromisoformat(voucher["expires-on"])
        assert timedelta(minutes=19) < ends - now <= timedelta(minutes=20)

        status, media_type, log = await post(tmp_path, site, *shown, path="requestauditlog")
        assert (status, media_type) == (200, "application/json")
        (event,) = json.loads(log)["events"]
        assert event["nonce"] is None


@pytest.mark.requirement("MASA-8", "MASA-6", "MASA-7", "VR-19")
async def test_a_voucher_with_a_nonce(tmp_path: Path) -> None:
    """The device's own request is enclosed, and the nonce comes back as it was spelt."""
    async with desk(tmp_path) as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        of_today(masa)
        nonce = bytes(range(250, 256)) + bytes(10)
        prior = masa.device.request(STRANGER.certificate, nonce=nonce)
        request = {
            "serial-number": masa.device.serial_number,
            "created-on": masa.world.clock.now.isoformat(timespec="seconds"),
            "nonce": base64.b64encode(nonce).decode(),
            "prior-signed-voucher-request": base64.b64encode(prior).decode(),
        }
        await sign(tmp_path, STRANGER, request)
        assert (await post(tmp_path, site))[0] == 200
        voucher = await payload(tmp_path, masa)
        assert (voucher["assertion"], voucher["nonce"]) == ("proximity", request["nonce"])
        assert "expires-on" not in voucher

        await sign(tmp_path, REGISTRAR, request)
        status, _, said = await post(tmp_path, site)
        assert status == 403
        assert b"proximity-registrar-cert" in said
        assert OWNER.root != STRANGER.root
