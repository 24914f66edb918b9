"""The statuses of RFC 8995 §5.3 and §5.6 as a pledge meets them, octet by octet, over real TLS."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from brski.edge.serve import serving
from brski.edge.signers.file import load_chain
from brski.edge.tls_client import Stream, open_stream, provisional_context
from brski.idevid.record import Presentation
from brski.registry import JSON, VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import Stage, set_stage
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.pledge.messages import build_voucher_request
from device_client.pledge.policy import Pledge
from tests.integration.test_plugin import mounted, with_own_seed
from tests.integration.test_registrar_commands import command

SERIAL, OTHER = "SN-0001", "SN-0002"


@dataclass
class Reply:
    status: int
    fields: dict[str, str]
    body: bytes


@dataclass
class Line:
    """One TLS connection of a device, HTTP by hand."""

    stream: Stream

    async def post(self, path: str, body: bytes, **fields: str) -> Reply:
        head = [f"POST /.well-known/brski/{path} HTTP/1.1", "Host: registrar"]
        head += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        head += [f"Content-Length: {len(body)}", "", ""]
        self.stream.writer.write("\r\n".join(head).encode() + body)
        return await self._reply()

    async def _reply(self) -> Reply:
        head = (await self.stream.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(": ") for line in head[1:] if line)
        fields = {name.lower(): value for name, _, value in pairs}
        body = await self.stream.reader.readexactly(int(fields.get("content-length", "0")))
        return Reply(int(head[0].split()[1]), fields, body)

    async def is_closed(self) -> bool:
        """Whether the server has ended the connection, TLS and TCP: end of file, soon."""
        async with asyncio.timeout(10):
            return await self.stream.reader.read() == b""


@dataclass
class Site:
    stage: Stage
    host: str
    port: int

    def device(self, serial_number: str) -> SeedIdentity:
        return SeedIdentity(load_fuse(self.stage.fuse_path(serial_number)))

    @asynccontextmanager
    async def line(self, device: SeedIdentity) -> AsyncIterator[Line]:
        context = provisional_context(device.client_chain, device.signer().private_key)
        stream = await open_stream(self.host, self.port, context)
        try:
            yield Line(stream)
        finally:
            stream.abort()

    def request(self, device: SeedIdentity, *, seen: str = "registrar") -> bytes:
        """A voucher-request of a device that has seen somebody's certificate."""
        pledge = Pledge(
            serial_number=device.serial_number,
            idevid_issuer=device.idevid_issuer,
            signer=device.signer(),
            idevid_chain=device.client_chain if device.carried else (),
            voucher_anchors=device.voucher_anchors,
            serialization=CMS,
        )
        chain = load_chain(self.stage.folder / "keys" / f"{seen}-chain.pem")
        _, octets = build_voucher_request(
            pledge,
            registrar_certificate=chain[0],
            nonce=secrets.token_bytes(16),
            created_on=None,
        )
        return octets


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """Everybody of the lab; the registrar is the plugin on this process's listener."""
    ordered = [
        Ordered(serial_number=SERIAL, presentation=Presentation.CARRIED),
        Ordered(serial_number=OTHER, presentation=Presentation.ASSERTED),
    ]
    async with Children(folder / "logs") as children:
        stage = await set_stage(folder, children, ordered, refused=[OTHER])
        await children.end("brski-registrar")
        async with mounted(stage) as listener, serving([listener]) as addresses:
            host, _, port = addresses["host"].rpartition(":")
            yield Site(stage=stage, host=host, port=int(port))


def is_text(reply: Reply) -> bool:
    """One line of UTF-8 that a person can read (§5.6)."""
    assert reply.fields["content-type"] == "text/plain; charset=utf-8"
    return bool(reply.body.decode("utf-8").strip())


@pytest.mark.requirement("REG-3", "E2E-2", "REG-16")
async def test_who_has_seen_another_certificate_is_hung_up_on(tmp_path: Path) -> None:
    """401, then the connection ends, TLS and all; the nearest request that is right is answered."""
    async with site(tmp_path) as at:
        device = at.device(SERIAL)
        async with at.line(device) as line:
            reply = await line.post(
                "requestvoucher",
                at.request(device, seen="masa-tls"),
                Content_Type=VOUCHER_CMS_JSON,
            )
            assert (reply.status, reply.fields["connection"]) == (401, "close")
            assert "www-authenticate" not in reply.fields
            assert is_text(reply)
            assert await line.is_closed()
        async with at.line(device) as line:
            good = at.request(device)
            reply = await line.post("requestvoucher", good, Content_Type=VOUCHER_CMS_JSON)
            assert reply.status == 200
            assert "close" not in reply.fields.get("connection", "")
            again = await line.post("requestvoucher", good, Content_Type=VOUCHER_CMS_JSON)
            assert again.body == reply.body


@pytest.mark.requirement("REG-6", "REG-16", "REG-19")
async def test_each_fault_has_its_status_and_its_sentence(tmp_path: Path) -> None:
    """Of type, of octets, of signature, of the MASA's policy."""
    async with site(tmp_path) as at:
        device = at.device(SERIAL)
        good = at.request(device)
        bent = bytearray(good)
        bent[-1] ^= 1
        async with at.line(device) as line:
            for status, body, media_type in (
                (415, good, "application/voucher-jws+json"),
                (415, good, "text/plain"),
                (400, b"\x30\x03\x02\x01\x01", VOUCHER_CMS_JSON),
                (403, bytes(bent), VOUCHER_CMS_JSON),
            ):
                reply = await line.post("requestvoucher", body, Content_Type=media_type)
                assert reply.status == status
                assert is_text(reply)
            asked = {"Content_Type": VOUCHER_CMS_JSON, "Accept": "application/voucher-cose"}
            reply = await line.post("requestvoucher", good, **asked)
            assert reply.status == 406
            assert is_text(reply)
        refused = at.device(OTHER)
        async with at.line(refused) as line:
            reply = await line.post(
                "requestvoucher", at.request(refused), Content_Type=VOUCHER_CMS_JSON
            )
            assert reply.status == 403
            assert b"the MASA answered 403" in reply.body
            assert is_text(reply)


@pytest.mark.requirement("REG-6")
async def test_a_person_says_no_as_nobody_would(tmp_path: Path) -> None:
    """A denied device and one that does not exist get the same octets, but for the date."""
    async with site(tmp_path) as at:
        device = at.device(OTHER)
        fuse = load_fuse(at.stage.fuse_path(OTHER))
        nobody = with_own_seed(fuse, "SN-0BAD")
        issuer = ("--issuer", (device.idevid_issuer or b"").hex())
        code, _ = await command("deny", OTHER, *issuer, settings=at.stage.registrar_settings)
        assert code == 0
        replies = []
        for who in (device, nobody):
            async with at.line(who) as line:
                replies.append(
                    await line.post(
                        "requestvoucher", at.request(who), Content_Type=VOUCHER_CMS_JSON
                    )
                )
        assert [reply.status for reply in replies] == [404, 404]
        first, second = ({**reply.fields, "date": ""} for reply in replies)
        assert first == second
        assert replies[0].body == replies[1].body == b""


@pytest.mark.requirement("REG-8")
async def test_what_a_pledge_takes_besides_does_not_matter(tmp_path: Path) -> None:
    """The MASA is asked for the one type that this registrar can check, a subset of the list."""
    async with site(tmp_path) as at, at.line(device := at.device(SERIAL)) as line:
        good = at.request(device)
        for accept in (
            VOUCHER_CMS_JSON,
            "*/*",
            f"application/voucher-cose;q=0.9, {VOUCHER_CMS_JSON}; q=0.1",
            "application/voucher-jws+json, Application/*",
        ):
            asked = {"Content_Type": VOUCHER_CMS_JSON, "Accept": accept}
            reply = await line.post("requestvoucher", good, **asked)
            assert (reply.status, reply.fields["content-type"]) == (200, VOUCHER_CMS_JSON)
        refused = {"Content_Type": VOUCHER_CMS_JSON, "Accept": f"{VOUCHER_CMS_JSON};q=0"}
        assert (await line.post("requestvoucher", good, **refused)).status == 406


@pytest.mark.requirement("TEL-4", "TEL-5", "TEL-3", "REG-20")
async def test_reports_are_json_of_the_right_types(tmp_path: Path) -> None:
    """415 for another type of body, 400 for values of other types, 200 with nothing to read."""
    async with site(tmp_path) as at, at.line(device := at.device(SERIAL)) as line:
        asked = await line.post("requestvoucher", at.request(device), Content_Type=VOUCHER_CMS_JSON)
        assert asked.status == 200
        for status, body, media_type in (
            (415, b'{"version":1,"status":true}', "text/plain"),
            (400, b'{"version":1,"status":"true"}', JSON),
            (400, b'{"version":1,"Status":true}', JSON),
            (200, b'{"version":2,"status":true,"mood":"good"}', JSON),
        ):
            reply = await line.post("voucher_status", body, Content_Type=media_type)
            assert reply.status == status
        assert reply.body == b""
