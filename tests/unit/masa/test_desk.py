"""The sales data and the faults: from the command line, and from the management listener."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.signers.file import write_chain
from brski.pki.keys import spki_sha256
from masa_stub.cli import main
from masa_stub.faults.plan import FaultPlan
from masa_stub.web.desk import Desk
from masa_stub.web.management import management_app
from tests.kit import oem, pki
from tests.kit.masa_desk import OWNER, STRANGER
from tests.kit.masa_desk import desk as masa_desk
from tests.kit.masa_site import misbehaviour

FACTORY = oem.Factory()
SETTINGS = """
[tls]
key = "tls.key"
chain = "tls.pem"
[[customer]]
name = "example-owner"
anchors = "owner.pem"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """SN-1 under one issuer, SN-2 under two."""
    for name in ("tls.key", "tls.pem"):
        (tmp_path / name).touch()
    write_chain(tmp_path / "owner.pem", [OWNER.certificate])
    second = oem.Factory()
    FACTORY.load(tmp_path / "devices.db", [FACTORY.make("SN-1"), FACTORY.make("SN-2")])
    second.load(tmp_path / "devices.db", [second.make("SN-2")], product="Another")
    path = tmp_path / "masa.toml"
    path.write_text(SETTINGS)
    return path


def masa(settings: Path, *arguments: object) -> int:
    command, *rest = map(str, arguments)
    return main([command, *rest, "--settings", str(settings)])


def lines(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_sale_a_transfer_and_a_release(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is a line more, and the newest counts."""
    ca = settings.with_name("owner.pem")
    assert masa(settings, "sold", "SN-1", "--customer", "example-owner") == 0
    assert masa(settings, "sold", "SN-1", "--certificate", ca) == 0
    assert masa(settings, "sold", "SN-1", "--domain-id", "AB" * 20) == 0
    assert masa(settings, "released", "SN-1") == 0
    assert masa(settings, "withheld", "SN-1") == 0
    written = lines(capsys)
    assert masa(settings, "sales", "SN-1") == 0
    assert lines(capsys) == written
    assert [list(sale.items())[-1] for sale in written] == [
        ("customer", "example-owner"),
        ("spki-sha256", spki_sha256(OWNER.certificate).hex()),
        ("domain-id", "ab" * 20),
        ("anybody", ""),
        ("nobody", ""),
    ]
    assert masa(settings, "sales", "SN-2") == 0
    assert lines(capsys) == []


def test_a_serial_number_of_two_devices_names_neither(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The issuers are listed; with one of them it works."""
    assert masa(settings, "released", "SN-2") == 2
    said = capsys.readouterr().err
    issuer = FACTORY.make("SN-3").issuer.hex()
    assert issuer in said
    assert masa(settings, "released", "SN-2", "--issuer", issuer) == 0
    assert lines(capsys)[0]["idevid_issuer"] == issuer


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sold", "SN-1"), "name one of"),
        (("sold", "SN-1", "--customer", "a", "--domain-id", "00"), "name one of"),
        (("sold", "SN-1", "--customer", "unheard-of"), "no [[customer]] named"),
        (("sold", "SN-1", "--domain-id", "xyz"), "not hexadecimal"),
        (("sold", "SN-1", "--domain-id", "abcd"), "2 octets"),
        (("released", "SN-9"), "no device SN-9 is on record"),
        (("released", "SN-9", "--issuer", "abcd"), "not 20"),
        (("released", "SN 1"), "serial number"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    settings: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """And nothing is written."""
    assert masa(settings, *arguments) in (1, 2)
    assert said in capsys.readouterr().err
    assert masa(settings, "sales") == 0
    assert lines(capsys) == []


def test_many_sales_at_once(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed can be read; one bad line and none is written."""
    issuer = FACTORY.make("SN-3").issuer.hex()
    good = [
        {"serial_number": "SN-1", "customer": "example-owner"},
        {"serial_number": "SN-2", "idevid_issuer": issuer, "anybody": ""},
    ]
    file = settings.with_name("sales.jsonl")
    file.write_text("\n".join(map(json.dumps, [*good, {"serial_number": "SN-2", "nobody": ""}])))
    assert masa(settings, "sell", file) == 2
    assert "line 3" in capsys.readouterr().err
    assert masa(settings, "sales") == 0
    assert lines(capsys) == []

    file.write_text("\n".join(map(json.dumps, good)))
    assert masa(settings, "sell", file) == 0
    assert "2 sales" in capsys.readouterr().out
    masa(settings, "sales")
    file.write_text(capsys.readouterr().out)
    assert masa(settings, "sell", file) == 0
    capsys.readouterr()
    masa(settings, "sales")
    assert [list(sale.values())[1] for sale in lines(capsys)] == ["SN-1", "SN-2"] * 2


def test_a_device_may_be_sold_before_it_is_on_record(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its issuer has to be said then."""
    assert masa(settings, "released", "SN-9", "--issuer", "00" * 20) == 0
    assert lines(capsys)[0]["serial_number"] == "SN-9"


@asynccontextmanager
async def management(folder: Path, *, faults: bool = False) -> AsyncIterator[TestClient[Any, Any]]:
    async with masa_desk(folder) as masa:
        world = masa.world
        desk = Desk(
            store=world.masa_store,
            sales=world.sales,
            records=world.wire.masa._records,
            clock=world.clock,
            faults=misbehaviour(world.wire.masa, FaultPlan("seed") if faults else None),
            anchors_pem=b"PEM",
        )
        async with TestClient(TestServer(management_app(desk))) as client:
            yield client


async def test_the_management_listener_does_the_same(tmp_path: Path) -> None:
    """A certificate may be given whole."""
    pem = STRANGER.issuers[0].public_bytes(Encoding.PEM).decode()
    async with management(tmp_path) as client:
        for buyer in ({"customer": "known-owner"}, {"certificate": pem}, {"anybody": ""}):
            answer = await client.post("/v1/sales", json={"serial_number": "SN-1", **buyer})
            assert answer.status == 201
        for path in ("/v1/sales", "/v1/sales/SN-1"):
            sales = (await (await client.get(path)).json())["sales"]
            assert sales[0]["customer"] == "known-owner"
            assert sales[1]["spki-sha256"] == spki_sha256(STRANGER.issuers[0]).hex()
            assert sales[2]["anybody"] == ""
        assert (await (await client.get("/v1/sales/SN-2")).json())["sales"] == []
        assert await (await client.get("/v1/anchor")).read() == b"PEM"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"serial_number":1}',
        b'{"serial_number":"SN-1"}',
        b'{"serial_number":"SN-1","customer":""}',
        b'{"serial_number":"SN-1","nobody":"x"}',
        b'{"serial_number":"SN-1","customer":"a","anybody":""}',
        b'{"serial_number":"SN-1","customer":"a","certificate":"-"}',
        b'{"serial_number":"SN-1","certificate":"no pem"}',
        b'{"serial_number":"SN-9","customer":"a"}',
        b'{"serial_number":"SN-1","customer":"a","price":"9"}',
        b'{"customer":"a"}',
        b'{"serial_number":"SN-1","customer":"a","customer":"b"}',
    ],
)
async def test_the_management_listener_refuses_what_is_no_sale(tmp_path: Path, body: bytes) -> None:
    """One buyer, one device, nothing else; it says what is wrong."""
    async with management(tmp_path) as client:
        answer = await client.post("/v1/sales", data=body)
        assert answer.status == 400
        assert await answer.text()
        assert (await (await client.get("/v1/sales")).json())["sales"] == []
        assert (await client.get("/v1/vouchers/SN 1")).status == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": "https://www.example.com"},
        {"Origin": "null"},
        {"Host": "masa.example.com"},
        {"Host": "localhost.example.com:80"},
    ],
)
async def test_no_page_in_a_browser_has_a_say(tmp_path: Path, fields: dict[str, str]) -> None:
    """Neither one that posts here, nor one whose name leads here."""
    async with management(tmp_path) as client:
        sale = {"serial_number": "SN-1", "customer": "known-owner"}
        answer = await client.post("/v1/sales", json=sale, headers=fields)
        assert answer.status == 403
        assert (await client.post("/v1/reset", headers=fields)).status == 403
        assert (await (await client.get("/v1/sales")).json())["sales"] == []
        fine = await client.get("/v1/sales", headers={"Host": "localhost:9444"})
        assert fine.status == 200


async def test_faults_are_armed_where_they_are_allowed(tmp_path: Path) -> None:
    """And taken back; the seed is told."""
    async with management(tmp_path, faults=True) as client:
        arm = {"fault": "html", "left": 3, "serial_number": "SN-1"}
        answer = await client.post("/v1/faults", json=arm)
        assert answer.status == 201
        assert await (await client.get("/v1/faults")).json() == {
            "seed": "seed",
            "rates": {},
            "armed": [arm],
        }
        assert (await client.delete("/v1/faults")).status == 204
        assert (await (await client.get("/v1/faults")).json())["armed"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"fault":"none-such"}',
        b'{"fault":7}',
        b'{"fault":"html","left":0}',
        b'{"fault":"html","left":true}',
        b'{"fault":"html","left":100000}',
        b'{"fault":"html","serial_number":"SN 1"}',
        b'{"fault":"html","serial_number":7}',
        b'{"fault":"html","serial":"SN-1"}',
    ],
)
async def test_what_is_no_arm_is_refused(tmp_path: Path, body: bytes) -> None:
    """Nothing is armed by it."""
    async with management(tmp_path, faults=True) as client:
        answer = await client.post("/v1/faults", data=body)
        assert answer.status == 400
        assert await answer.text()
        assert (await (await client.get("/v1/faults")).json())["armed"] == []


async def test_no_fault_is_armed_where_none_is_allowed(tmp_path: Path) -> None:
    """The usual MASA behaves, whoever reaches its management listener."""
    async with management(tmp_path) as client:
        for method in ("GET", "POST", "DELETE"):
            answer = await client.request(method, "/v1/faults", json={"fault": "html"})
            assert answer.status == 400
            assert "--faults" in await answer.text()


def test_the_kit_has_another_factory() -> None:
    """Two issuers, so that a serial number can stand for two devices."""
    assert oem.Factory().make("SN-1").issuer != FACTORY.make("SN-1").issuer
    assert pki.NOW
