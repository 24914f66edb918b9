"""brski-masa as a program: loud about its faults, and the same seed is the same run."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

from brski.edge.signers.file import write_chain, write_private_key
from brski.idevid.bundle import CertifiedDevice
from brski.idevid.record import Presentation
from brski.pki.extensions import encode_idevid_issuer
from brski.voucher.cms import CMS
from brski.voucher.model import VoucherRequest
from brski.voucher.yang_json import encode_voucher_request
from brski.voucher.yang_types import encode_nonce
from tests.kit import oem, pki
from tests.kit.masa_desk import REGISTRAR, STRANGER
from tests.kit.masa_site import SERVER, Site

FACTORY = oem.Factory()
SETTINGS = '[tls]\nkey = "tls.key"\nchain = "tls.pem"\n'
HEAD = (
    b"POST /.well-known/brski/requestvoucher HTTP/1.1\r\n"
    b"Host: masa\r\nContent-Type: application/voucher-cms+json\r\n"
)


def furnish(folder: Path, devices: Sequence[CertifiedDevice] = (), settings: str = "") -> None:
    """The folder of a MASA that has *devices* on record."""
    FACTORY.load(folder / "devices.db", [*(devices or [FACTORY.make("SN-1").listed()])])
    write_private_key(folder / "tls.key", SERVER.private_key)
    write_chain(folder / "tls.pem", [SERVER.certificate])
    (folder / "masa.toml").write_text(SETTINGS + settings)


@asynccontextmanager
async def program(folder: Path, *arguments: str) -> AsyncIterator[tuple[Process, int]]:
    """The program, and the port where registrars are served."""
    listening = ("--listen", "127.0.0.1:0", "--manage", "127.0.0.1:0", "--announce")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; from masa_stub.cli import main; sys.exit(main())"),
        *("serve", "--settings", str(folder / "masa.toml"), *listening, *arguments),
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    try:
        told = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        yield process, int(told["listeners"]["registrars"].rpartition(":")[2])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def status(port: int) -> int:
    """Of an answer to a request that nobody can read."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\n{")
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def run(folder: Path, *arguments: str) -> tuple[list[int], str]:
    """Twenty statuses, and what the program wrote."""
    folder.mkdir()
    furnish(folder)
    async with program(folder, *arguments) as (process, port):
        statuses = [await status(port) for _ in range(20)]
        process.terminate()
        _, said = await process.communicate()
    return statuses, said.decode()


async def test_a_seed_repeats_a_run_of_the_program(tmp_path: Path) -> None:
    """The seed that it printed, given again; and without chaos there is none."""
    chaos = ("--chaos", "503=40%,html=20%")
    first, said = await run(tmp_path / "first", *chaos)
    assert "MISBEHAVES ON PURPOSE" in said
    seed = said.partition("seed=")[2].split()[0].strip("'\"")
    again, said = await run(tmp_path / "again", *chaos, "--seed", seed)
    assert again == first
    assert {200, 400, 503} == set(first)
    behaving, said = await run(tmp_path / "behaving")
    assert set(behaving) == {400}
    assert "MISBEHAVES" not in said


FIRST_COME = """
[policy]
unsold = "first"
allow_logged = true
[rates]
refusals_per_s = 1000
"""


def claim(serial_number: str, registrar: pki.Entity) -> bytes:
    """A registrar's voucher-request, signed now."""
    now = datetime.now(UTC).replace(microsecond=0)
    asked = VoucherRequest(
        serial_number=serial_number,
        created_on=now,
        nonce=encode_nonce(bytes(16)),
        idevid_issuer=encode_idevid_issuer(FACTORY.idevid_issuer),
    )
    return CMS.sign(
        encode_voucher_request(asked),
        registrar.signer,
        certificates=registrar.chain,
        signing_time=now,
    )


async def test_two_processes_on_one_file_give_a_device_to_one(tmp_path: Path) -> None:
    """Two domains claim the same devices at once, each at another process: of each device one is
    the first, and has the one entry.
    """
    names = [f"SN-{number}" for number in range(24)]
    carried = [FACTORY.make(name).listed(presentation=Presentation.CARRIED) for name in names]
    furnish(tmp_path, carried, FIRST_COME)
    async with AsyncExitStack() as stack:
        sites = []
        for _ in range(2):
            _, port = await stack.enter_async_context(program(tmp_path))
            sites.append(Site(port=port, folder=tmp_path))
            stack.push_async_callback(sites[-1].close)
        calls = [
            site.post(claim(name, registrar))
            for name in names
            for site, registrar in zip(sites, (REGISTRAR, STRANGER), strict=True)
        ]
        statuses = [answer.status for answer in await asyncio.gather(*calls)]
    assert [sorted(pair) for pair in zip(statuses[::2], statuses[1::2], strict=True)] == (
        [[200, 403]] * len(names)
    )
    with closing(sqlite3.connect(tmp_path / "masa.db")) as db:
        entered = [name for (name,) in db.execute("SELECT serial_number FROM entries")]
    assert sorted(entered) == sorted(names)
