"""A device and a copy of it, over real TLS: both get what they ask for, and a person is told."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector

from brski.edge.signers.file import load_chain, write_chain, write_private_key
from brski.idevid.record import Presentation
from brski.registry import BRSKI_ROOT, REQUEST_VOUCHER, VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import Stage, set_stage
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.pledge.messages import build_voucher_request
from device_client.pledge.origin import Origin
from device_client.pledge.policy import Pledge
from device_client.pledge.states import Result
from registrar_plugin.cli import main

SERIAL_NUMBER = "SN-0001"


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[tuple[Stage, SeedIdentity]]:
    """Everybody of the lab, and one device, of whose fuse somebody has a copy."""
    ordered = [Ordered(serial_number=SERIAL_NUMBER, presentation=Presentation.ASSERTED)]
    async with Children(folder / "logs") as children:
        stage = await set_stage(folder, children, ordered)
        yield stage, SeedIdentity(load_fuse(stage.fuse_path(SERIAL_NUMBER)))


def alarms(stage: Stage, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """As the operator sees them, while the registrar runs."""
    capsys.readouterr()
    assert main(["alarms", "-s", str(stage.registrar_settings), "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["alarms"]
    return found


async def test_a_copy_onboards_and_rings_an_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a keystore of its own it looks like the device after a factory reset."""
    async with staged(tmp_path) as (stage, device):
        origin = Origin(host="127.0.0.1", port=stage.registrar_port)
        for name in ("device", "copy"):
            assert await _shown(stage, capsys) == []
            ended = await onboard(device, [origin], FileKeystore(tmp_path / name))
            assert ended.result is Result.ENROLLED
        (alarm,) = await _shown(stage, capsys)
    assert (alarm["serial_number"], alarm["code"]) == (SERIAL_NUMBER, "second-use")
    assert alarm["details"] == {"signal": "ldevid-replaced"}
    assert alarm["outcome"] == "done"


async def _shown(stage: Stage, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return await asyncio.to_thread(alarms, stage, capsys)


async def test_two_addresses_at_once_ring_an_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first connection is still open when the second one asks; closed, it is no sign."""
    async with staged(tmp_path) as (stage, device), AsyncExitStack() as held:
        url = f"https://127.0.0.1:{stage.registrar_port}{BRSKI_ROOT}{REQUEST_VOUCHER}"
        for address in ("127.0.0.1", "127.0.0.2"):
            async with _client(tmp_path, device, address) as client:
                await _ask(client, url, _request_of(device, tmp_path))
        assert await _shown(stage, capsys) == []
        for address in ("127.0.0.3", "127.0.0.4"):
            client = await held.enter_async_context(_client(tmp_path, device, address))
            await _ask(client, url, _request_of(device, tmp_path))
        (alarm,) = await _shown(stage, capsys)
    assert alarm["details"] == {"signal": "two-addresses"}
    assert alarm["reason"] == "connected at once from 127.0.0.4, 127.0.0.3"


@asynccontextmanager
async def _client(folder: Path, device: SeedIdentity, address: str) -> AsyncIterator[ClientSession]:
    (folder / "shown.key").unlink(missing_ok=True)
    write_private_key(folder / "shown.key", device.signer().private_key)
    (folder / "shown.pem").unlink(missing_ok=True)
    write_chain(folder / "shown.pem", device.client_chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(folder / "shown.pem", folder / "shown.key")
    connector = TCPConnector(ssl=context, local_addr=(address, 0))
    async with ClientSession(connector=connector) as client:
        yield client


async def _ask(client: ClientSession, url: str, body: bytes) -> None:
    headers = {"Content-Type": VOUCHER_CMS_JSON}
    async with client.post(url, data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()


def _request_of(device: SeedIdentity, folder: Path) -> bytes:
    """A new voucher-request, with a nonce of its own."""
    pledge = Pledge(
        serial_number=device.serial_number,
        idevid_issuer=device.idevid_issuer,
        signer=device.signer(),
        idevid_chain=(),
        voucher_anchors=device.voucher_anchors,
        serialization=CMS,
    )
    registrar = load_chain(folder / "keys" / "registrar-chain.pem")[0]
    _, octets = build_voucher_request(
        pledge, registrar_certificate=registrar, nonce=secrets.token_bytes(16), created_on=None
    )
    return octets
