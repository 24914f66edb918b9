"""The OEM's directory, in a file and in a server, small and large: bulk load and point look-ups."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.desk import CREATED, serial_number
from benchmarks.measure import Options
from brski.edge.adapters import load_adapter
from brski_lab.postgresql import find_programs, postgresql_server
from oem_backend.database.engine.sqlite import SQLitePlace
from oem_backend.database.opening import GROUP
from oem_backend.database.port import Place, Row, Session

SMALL: Final = 10_000
LOOK_UPS: Final = 5_000
FREE_OCTETS: Final = 20 * 10**9  # what the large directories want to have beside them

_COLUMNS: Final = (
    *("serial_number", "idevid_issuer", "certificate", "certificate_sha256", "spki"),
    *("spki_sha256", "presentation", "chunk", "bundle", "superseded"),
)
_ISSUER: Final = bytes(20)
_CERTIFICATE: Final = bytes(range(256)) * 2
_CHAIN: Final = """
INSERT INTO issuing_chain (digest, idevid_issuer) VALUES (:digest, :issuer) RETURNING number
"""
_BUNDLE: Final = """
INSERT INTO bundle (digest, factory, product, generation, batch_digest, build_list_digest,
    derivation_profile, issuing_chain, record_count, revocation_count, created_at, loaded_at)
VALUES (:digest, 'factory-1', 'sensor', 1, :digest, :digest, 'hmac-drbg-p256', :chain, :records, 0,
    :now, :now)
RETURNING number
"""


def measure(options: Options) -> dict[str, float]:
    """Fill and ask; see docs/benchmarks.md for what each number is."""
    large = options.rows
    if shutil.disk_usage(tempfile.gettempdir()).free < FREE_OCTETS and large > SMALL:
        print(f"database: {large} rows need 20 GB free: left out", file=sys.stderr)
        large = 0
    metrics: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="brski-bench-") as name:
        for size, rows in (("10k", SMALL), ("10m", large)):
            path = Path(name) / f"{size}.db"
            metrics |= _measure("sqlite", size, SQLitePlace(path), rows)
            path.unlink(missing_ok=True)
    programs = find_programs()
    if programs is None:
        print("database: no PostgreSQL here (Debian package postgresql)", file=sys.stderr)
        return metrics
    engine = load_adapter(GROUP, "postgresql", where="engine")
    with postgresql_server(programs, "shared_buffers=512MB", "max_wal_size=4GB") as server:
        for size, rows in (("10k", SMALL), ("10m", large)):
            metrics |= _measure("postgresql", size, engine(server.new_database()), rows)
    return metrics


def _measure(engine: str, size: str, place: Place, rows: int) -> dict[str, float]:
    if not rows:
        return {}
    session = place.open_to_write()
    took_s = _fill(session, rows)
    session.settle()
    session.close()
    return {
        f"{engine}_load_rows_per_s_{size}": rows / took_s,
        f"{engine}_lookups_per_s_{size}": asyncio.run(_look_ups_per_s(place, rows)),
    }


def _fill(session: Session, rows: int) -> float:
    """Seconds for the engine's bulk path, from values in memory to a commit."""
    digest = hashlib.sha256(b"batch").digest()
    began_s = time.monotonic()
    with session.writing():
        ((chain,),) = session.rows(_CHAIN, {"digest": digest, "issuer": _ISSUER})
        values = {"digest": digest, "chain": chain, "records": rows}
        now = {"now": int(CREATED.timestamp())}
        ((bundle,),) = session.rows(_BUNDLE, values | now)
        session.fill("device", _COLUMNS, _rows(rows, bundle))
    return time.monotonic() - began_s


def _rows(count: int, bundle: int) -> Iterator[Row]:
    """Synthetic, in the order of their serial numbers, as a bundle brings them."""
    for number in range(count):
        octets = number.to_bytes(8, "big")
        digest = hashlib.sha256(octets).digest()
        yield (
            *(serial_number(number), _ISSUER, octets + _CERTIFICATE, digest),
            *(digest + _CERTIFICATE[:59], digest, "asserted", number // 10_000, bundle, 0),
        )


async def _look_ups_per_s(place: Place, rows: int) -> float:
    """One after the other, of serial numbers at random, through the port that servers use."""
    records = await place.open_records()
    chance = random.Random(1)  # noqa: S311 - which rows are asked for
    wanted = [serial_number(chance.randrange(rows)) for _ in range(LOOK_UPS)]
    await records.find(None, wanted[0])
    began_s = time.monotonic()
    for each in wanted:
        (found,) = await records.find(None, each)
        assert found.serial_number == each
    took_s = time.monotonic() - began_s
    await records.close()
    return LOOK_UPS / took_s
