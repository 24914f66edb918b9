"""brski-masa as a program: loud about its faults, and the same seed is the same run."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from brski.edge.signers.file import write_chain, write_private_key
from tests.kit import oem
from tests.kit.masa_site import SERVER

SETTINGS = '[tls]\nkey = "tls.key"\nchain = "tls.pem"\n'
HEAD = (
    b"POST /.well-known/brski/requestvoucher HTTP/1.1\r\n"
    b"Host: masa\r\nContent-Type: application/voucher-cms+json\r\n"
)


@asynccontextmanager
async def program(folder: Path, *arguments: str) -> AsyncIterator[tuple[Process, int]]:
    """The program, and the port where registrars are served."""
    factory = oem.Factory()
    factory.load(folder / "devices.db", [factory.make("SN-1")])
    write_private_key(folder / "tls.key", SERVER.private_key)
    write_chain(folder / "tls.pem", [SERVER.certificate])
    (folder / "masa.toml").write_text(SETTINGS)
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
