"""How EST bodies and answers travel over real TLS, as clients of the field have them."""

from __future__ import annotations

import asyncio
import base64
import ssl
from pathlib import Path

import pytest

from brski.est.certs_only import decode_certs_only
from brski.est.transfer import encode_base64
from brski.registry import PKCS7_MIME
from tests.kit import pki
from tests.kit.pending_ca import PendingCA
from tests.kit.world import Device, World, make_world
from tests.kit.world_site import Site, est_site


async def onboarded(world: World) -> Device:
    """A device that has accepted its voucher."""
    device = world.make_device()
    await world.voucher(device)
    await world.accept(device)
    return device


def shown(site: Site, device: Device) -> tuple[str, ...]:
    return site.credentials(device.shown, device.entity.private_key)


def pem(csr: bytes, label: str = "CERTIFICATE REQUEST", end: bytes = b"\n") -> bytes:
    lines = [f"-----BEGIN {label}-----".encode(), *base64.encodebytes(csr).splitlines()]
    return end.join([*lines, f"-----END {label}-----".encode(), b""])


def bodies(csr: bytes) -> dict[str, bytes]:
    """One request as the clients of the field write it."""
    line = base64.b64encode(csr)
    return {
        "strongSwan: one line": line,
        "libest: wrapped at 64": encode_base64(csr, "wrap"),
        "CR LF": base64.encodebytes(csr).replace(b"\n", b"\r\n"),
        "spaces and tabs": b" \t" + line[:50] + b" \t\r\n " + line[50:] + b"\n\n",
        "lgtti: PEM": pem(csr),
        "PEM, CR LF": pem(csr, end=b"\r\n"),
        "certreq: NEW": pem(csr, "NEW CERTIFICATE REQUEST"),
    }


@pytest.mark.requirement("ESTS-1", "ESTS-2", "ESTS-3")
@pytest.mark.parametrize("encoding", [None, "base64", "binary", "7bit", "x-nobody-knows"])
async def test_a_request_is_read_in_every_shape(tmp_path: Path, encoding: str | None) -> None:
    """Whatever Content-Transfer-Encoding says, it is base64; the same CSR gets the same octets."""
    async with make_world(tmp_path) as world, est_site(world, tmp_path) as site:
        device = await onboarded(world)
        header = () if encoding is None else ("-H", f"Content-Transfer-Encoding: {encoding}")
        answers = set()
        for name, body in bodies(world.csr(device)).items():
            reply = await site.post("/simpleenroll", body, *header, *shown(site, device))
            assert reply.status == 200, name
            assert "content-transfer-encoding" not in reply.headers
            answers.add(reply.body)
        assert len(answers) == 1


@pytest.mark.requirement("ESTS-1", "ESTS-11")
async def test_an_error_is_text_that_names_the_rule(tmp_path: Path) -> None:
    """400 for octets that are not base64, with one line of UTF-8 for a person."""
    async with make_world(tmp_path) as world, est_site(world, tmp_path) as site:
        device = await onboarded(world)
        csr = world.csr(device)
        unpadded = base64.b64encode(csr)[:-1]
        for body in (csr, unpadded, b"", b"{}", pem(csr) + pem(csr), pem(csr, "CERTIFICATE")):
            reply = await site.post("/simpleenroll", body, *shown(site, device))
            assert reply.status == 400
            assert reply.headers["content-type"] == "text/plain; charset=utf-8"
            assert b"RFC" in reply.body.decode().encode()
        other = world.csr(world.make_device("SN-2"))
        reply = await site.post("/simpleenroll", base64.b64encode(other), *shown(site, device))
        assert reply.status == 400
        assert "SN-2" in reply.body.decode()
        assert "RFC 7030 §4.2.1" in reply.body.decode()
        assert await world.journal.active_certificate(device.key) is None


async def test_an_http_1_0_client_is_answered_in_its_version(tmp_path: Path) -> None:
    """With Content-Length and without chunks, as libest wants it."""
    async with make_world(tmp_path) as world, est_site(world, tmp_path) as site:
        device = await onboarded(world)
        site.credentials(device.shown, device.entity.private_key)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        name = device.shown[0].serial_number
        context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        body = encode_base64(world.csr(device), "wrap")
        asked = (
            b"POST /.well-known/est/simpleenroll HTTP/1.0\r\nContent-Type: application/pkcs10\r\n"
            b"Content-Transfer-Encoding: base64\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        host, port = site.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(asked)
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.0 200")
        assert b"content-length: %d" % len(answer) in head.lower()
        assert b"transfer-encoding: chunked" not in head.lower()
        assert len(decode_certs_only(base64.b64decode(answer))) == 1


@pytest.mark.requirement("TLS-3", "ESTC-8")
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
async def test_a_new_connection_shows_the_new_certificate(tmp_path: Path, tls: str) -> None:
    """The LDevID comes over the IDevID; the next one over a connection that shows the LDevID."""
    version = (f"--tlsv{tls}", "--tls-max", tls)
    async with make_world(tmp_path) as world, est_site(world, tmp_path) as site:
        device, key = await onboarded(world), pki.make_key()
        csr = base64.b64encode(world.csr(device, pki.KeySigner(key)))
        idevid = shown(site, device)
        first = await site.post("/simpleenroll", csr, *version, *idevid)
        (ldevid,) = decode_certs_only(first.der)
        assert (await site.post("/simplereenroll", csr, *version, *idevid)).status == 403
        over_ldevid = site.credentials([ldevid], key)
        assert (await site.post("/simpleenroll", csr, *version, *over_ldevid)).status == 403
        second = await site.post("/simplereenroll", csr, *version, *over_ldevid)
        (next_,) = decode_certs_only(second.der)
        assert next_ != ldevid


@pytest.mark.requirement("ESTS-10")
async def test_a_pending_request_is_answered_later(tmp_path: Path) -> None:
    """202 with Retry-After, over a restart too; the same POST gets the certificate in the end."""
    owner = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
    oem = pki.make_pki("Example OEM")

    def ca() -> PendingCA:
        return PendingCA(owner.signer, tmp_path / "ca")

    async with make_world(tmp_path, ca=ca(), oem=oem) as world, est_site(world, tmp_path) as site:
        device = await onboarded(world)
        body = base64.b64encode(world.csr(device))
        for _ in range(2):
            reply = await site.post("/simpleenroll", body, *shown(site, device))
            assert (reply.status, reply.headers["retry-after"]) == (202, "7")
            assert reply.body == b""
        records = world.records
    async with (
        make_world(tmp_path, ca=ca(), oem=oem, records=records) as world,
        est_site(world, tmp_path) as site,
    ):
        assert (await site.post("/simpleenroll", body, *shown(site, device))).status == 202
        assert len(ca().asked()) == 1  # one intent, however often it was asked
        ca().approve()
        reply = await site.post("/simpleenroll", body, *shown(site, device))
        assert reply.status == 200
        again = await site.post("/simpleenroll", body, *shown(site, device))
        assert again.body == reply.body


@pytest.mark.requirement("ESTS-10")
async def test_a_pending_renewal_leaves_the_current_certificate(tmp_path: Path) -> None:
    """It is superseded when its successor is there, not before."""
    owner = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
    ca = PendingCA(owner.signer, tmp_path / "ca")
    async with make_world(tmp_path, ca=ca) as world, est_site(world, tmp_path) as site:
        device, key = await onboarded(world), pki.make_key()
        csr = base64.b64encode(world.csr(device, pki.KeySigner(key)))
        assert (await site.post("/simpleenroll", csr, *shown(site, device))).status == 202
        ca.approve()
        first = await site.post("/simpleenroll", csr, *shown(site, device))
        (ldevid,) = decode_certs_only(first.der)
        over_ldevid = site.credentials([ldevid], key)
        for _ in range(2):
            assert (await site.post("/simplereenroll", csr, *over_ldevid)).status == 202
        ca.approve()
        second = await site.post("/simplereenroll", csr, *over_ldevid)
        assert second.status == 200
        assert (await site.post("/simplereenroll", csr, *over_ldevid)).body == second.body


@pytest.mark.requirement("ESTS-11")
async def test_full_cmc_is_refused_in_words(tmp_path: Path) -> None:
    """501 with text to who shows a certificate; 403 to who shows none."""
    async with make_world(tmp_path) as world, est_site(world, tmp_path) as site:
        device = await onboarded(world)
        reply = await site.post("/fullcmc", b"MA==", *shown(site, device), media_type=PKCS7_MIME)
        assert reply.status == 501
        assert b"RFC 7030" in reply.body
        assert reply.headers["content-type"].startswith("text/plain")
        assert (await site.post("/fullcmc", b"MA==", media_type=PKCS7_MIME)).status == 403
