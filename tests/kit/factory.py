"""A founded factory in a folder, and batches and build lists for it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from brski.edge.signers.file import load_signer
from brski.edge.signers.key import KeySigner
from brski.idevid.build_list import BuildEntry, BuildListWriter
from brski.idevid.record import Presentation
from brski.seed.batch import build_header
from brski.seed.batch_file import MintedBatch, mint
from brski.seed.recipient_key import HybridPublicKey
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from brski_lab.pki import write_signing_key
from oem_backend.factory.found import found_factory

J = TypeVar("J")
R = TypeVar("R")

CREATED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


class InProcess:
    """Does the workers' jobs here: for refusals, where isolation is not what is tested."""

    def map(self, task: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        return map(task, jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactoryKit:
    """What a test needs of one factory."""

    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "factory.toml"

    @property
    def recipient(self) -> HybridPublicKey:
        return HybridPublicKey.parse((self.folder / "recipient.pub").read_bytes())

    def signer(self, name: str) -> KeySigner:
        return load_signer(self.folder / f"{name}.key")

    def batch(
        self,
        chips: Sequence[SeedRecord],
        name: str = "batch",
        *,
        signer: str = "vendor",
        recipient: HybridPublicKey | None = None,
        records_a_chunk: int = 3,
        **leaves: Any,
    ) -> tuple[Path, MintedBatch]:
        """Mint a batch file; *leaves* are build_header's."""
        key = self.signer(signer)
        header = build_header(
            **{
                "vendor_id": "vendor",
                "vendor_key": key.public_key,
                "product": "sensor",
                "batch_id": name,
                "sequence": 1,
                "predecessor": None,
                "derivation_profile": "hmac-drbg-p256",
                "record_count": len(chips),
                "created_at": CREATED,
                "recipient": recipient or self.recipient,
                "records_a_chunk": records_a_chunk,
                **leaves,
            }
        )
        path = self.folder / name
        with tempfile.TemporaryFile() as spool, path.open("wb") as out:
            minted = mint(
                header,
                chips,
                recipient=recipient or self.recipient,
                signer=key,
                out=out,
                spool=spool,
            )
        return path, minted

    def build_list(
        self,
        chips: Iterable[tuple[bytes, str]],
        name: str = "list",
        *,
        generation: int = 1,
        replace: bool = False,
        signer: str = "assembly",
    ) -> Path:
        """A signed list of chip ids and serial numbers, every second device asserting."""
        path = self.folder / name
        with tempfile.TemporaryFile() as spool, path.open("wb") as out:
            writer = BuildListWriter(spool)
            for number, (chip_id, serial) in enumerate(sorted(chips, key=lambda pair: pair[1])):
                writer.add(
                    BuildEntry(
                        chip_id=chip_id,
                        serial_number=serial,
                        presentation=tuple(Presentation)[number % 2],
                        replace=replace,
                    )
                )
            writer.finish(
                out,
                signer_id="assembly",
                created_at=CREATED,
                product="sensor",
                generation=generation,
                signer=self.signer(signer),
            )
        return path


def found(folder: Path, *, levels: int = 3, algorithm: str = "P-256") -> FactoryKit:
    """A factory that knows one vendor and one assembler; a stranger's key lies beside."""
    found_factory(
        folder,
        name="factory-1",
        title="Example OEM",
        masa_url="masa.example.com",
        levels=levels,
        algorithm=algorithm,
        created_at=CREATED,
    )
    for name in ("vendor", "assembly", "stranger"):
        write_signing_key(folder, name)
    with (folder / "factory.toml").open("a") as settings:
        for table, name in (("vendor", "vendor"), ("assembler", "assembly")):
            key = json.dumps(f"{name}.pub")
            settings.write(f'\n[[factory.{table}]]\nname = "{name}"\nkey = {key}\n')
    return FactoryKit(folder=folder)


def chips(count: int, *, start: int = 0) -> list[SeedRecord]:
    """Records with seeds that are easy to look for."""
    return [
        SeedRecord(
            chip_id=b"chip%04d" % number,
            seed=Seed(bytes((number * 7 + index * 13 + 1) % 256 for index in range(32))),
        )
        for number in range(start, start + count)
    ]


def serials(records: Iterable[SeedRecord]) -> list[tuple[bytes, str]]:
    """Each chip with a serial number."""
    return [(record.chip_id, f"SN-{record.chip_id[-4:].decode()}") for record in records]
