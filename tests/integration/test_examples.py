"""Both kinds of host in examples/, over real TLS, with a real device; curl looks on."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from brski.edge.serve import serving
from brski.edge.signers.file import load_chain, write_chain, write_private_key
from brski.idevid.record import Presentation
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import Stage, set_stage
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.pledge.messages import build_voucher_request
from device_client.pledge.origin import Origin
from device_client.pledge.policy import Pledge
from device_client.pledge.states import Result
from tests.kit.programs import require_program
from tests.kit.staged import join

EXAMPLES = Path(__file__).parents[2] / "examples"
DEVICES = [
    Ordered(serial_number="SN-0001", presentation=Presentation.CARRIED),
    Ordered(serial_number="SN-0002", presentation=Presentation.ASSERTED),
]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def hosted(
    folder: Path, name: str, *, own_context: bool = True
) -> AsyncIterator[tuple[Stage, str]]:
    """Everybody of the lab but its registrar, whose place the example takes."""
    async with Children(folder / "logs") as children:
        stage = await set_stage(folder, children, DEVICES)
        await children.end("brski-registrar")
        _, listener = example(name).make_app(stage.registrar_settings)
        listener = replace(listener, listen="127.0.0.1:0")
        if not own_context:
            listener = replace(listener, ssl_context=None)
        async with serving([listener]) as addresses:
            yield stage, addresses["host"]


async def curl(*arguments: str) -> tuple[str, str]:
    """Head and body of what came."""
    process = await asyncio.create_subprocess_exec(
        *(require_program("curl", "curl"), "-sk", "-i", "--max-time", "20", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    head, _, body = out.decode().partition("\r\n\r\n")
    return head, body


async def test_the_plugin_on_somebodys_application(tmp_path: Path) -> None:
    """Devices of both kinds enroll; the host's route and middleware are as they were."""
    async with hosted(tmp_path, "host_with_plugin") as (stage, address):
        host, port = address.split(":")
        for device in DEVICES:
            origin = Origin(host=host, port=int(port))
            ended = await join(stage, device.serial_number, origin)
            assert ended.result is Result.ENROLLED, ended.reason
        head, body = await curl(f"https://{address}/inventory")
        assert "200 OK" in head
        assert "X-Host: mine" in head
        assert body == '{"devices": 0}'
        head, body = await curl(f"https://{address}/.well-known/est/cacerts")
        assert "application/pkcs7-mime; smime-type=certs-only" in head
        assert body.strip()


async def test_a_request_over_another_context_is_not_anonymous(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The host listens without the registrar's TLS context: 503 and one line that says so."""
    async with hosted(tmp_path, "host_with_plugin", own_context=False) as (_, address):
        with caplog.at_level(logging.WARNING):
            head, _ = await curl(
                *("-X", "POST", "-H", f"Content-Type: {VOUCHER_CMS_JSON}", "-d", "x"),
                f"http://{address}/.well-known/brski/requestvoucher",
            )
        assert "503" in head.splitlines()[0]
        assert [r.getMessage() for r in caplog.records] == ["request refused"]
        assert getattr(caplog.records[0], "code", "") == "wrong-context"


@pytest.mark.parametrize("number", [0, 1])
async def test_a_host_that_takes_the_identity_step_alone(tmp_path: Path, number: int) -> None:
    """Its own endpoint learns who the pledge is; a request under another key gets its 404."""
    async with hosted(tmp_path, "own_requestvoucher") as (stage, address):
        identity = SeedIdentity(load_fuse(stage.fuse_path(DEVICES[number].serial_number)))
        other = SeedIdentity(load_fuse(stage.fuse_path(DEVICES[1 - number].serial_number)))
        registrar = load_chain(stage.folder / "keys" / "registrar-chain.pem")[0]
        pledge = Pledge(
            serial_number=identity.serial_number,
            idevid_issuer=identity.idevid_issuer,
            signer=identity.signer(),
            idevid_chain=identity.client_chain if identity.carried else (),
            voucher_anchors=identity.voucher_anchors,
            serialization=CMS,
        )
        _, octets = build_voucher_request(
            pledge, registrar_certificate=registrar, nonce=bytes(range(16)), created_on=None
        )
        (tmp_path / "request").write_bytes(octets)
        answers = []
        for shown in (identity, other):
            name = tmp_path / shown.serial_number
            write_private_key(name.with_suffix(".key"), shown.signer().private_key)
            write_chain(name.with_suffix(".pem"), shown.client_chain)
            answers.append(
                await curl(
                    *("--cert", f"{name}.pem", "--key", f"{name}.key", "-X", "POST"),
                    *("-H", f"Content-Type: {VOUCHER_CMS_JSON}"),
                    *("--data-binary", f"@{tmp_path / 'request'}"),
                    f"https://{address}/my/requestvoucher",
                )
            )
        (head, body), (refused, nothing) = answers
        assert "200 OK" in head
        told = json.loads(body)
        assert told["serial_number"] == identity.serial_number
        assert told["presentation"] == DEVICES[number].presentation.value
        assert "404" in refused.splitlines()[0]
        assert nothing == ""
