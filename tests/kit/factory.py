"""A founded factory in a folder, and batches and build lists for it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from brski.edge.adapters import open_adapter
from brski.edge.atomic_file import write_atomically
from brski.edge.settings import load_settings
from brski.edge.signers.file import load_signer
from brski.edge.signers.key import KeySigner
from brski.edge.signers.public_key import load_public_key
from brski.idevid.build_list import BuildEntry, BuildListWriter
from brski.idevid.bundle import Revocation, open_bundle
from brski.idevid.record import DeviceRecord, Presentation
from brski.pki.signer import PublicKey
from brski.seed.batch import build_header
from brski.seed.batch_file import MintedBatch, mint
from brski.seed.cms_batch import mint_cms
from brski.seed.cms_keys import CMSPrivateKey, CMSPublicKey
from brski.seed.profiles import DevicePrivateKey
from brski.seed.recipient_key import HybridPublicKey
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from brski_lab.pki import write_signing_key
from oem_backend.executors.port import Executor, Task
from oem_backend.factory.found import TokenPlace, found_factory
from oem_backend.factory.intake import IntakeReport, Keys, take_in
from oem_backend.factory.ledger.file import Ledger, open_ledger
from oem_backend.factory.line import Line, MakeReport, make_bundles
from oem_backend.factory.settings import FactoryFile

CREATED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


class InProcess:
    """Does the workers' jobs here: for refusals, where isolation is not what is tested."""

    def __init__(self, *, trusted: bool = True) -> None:
        self.trusted = trusted
        self.done: list[str] = []  # the tasks' names

    def map(self, task: Task, jobs: Iterable[bytes]) -> Generator[bytes, None, None]:
        for job in jobs:
            self.done.append(task.__name__)
            yield task(job)


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

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def keys(self) -> Keys:
        cms = self.folder / "recipient-cms.key"  # of a test that takes batches in CMS
        key = CMSPrivateKey.parse(cms.read_bytes()) if cms.is_file() else None
        return Keys(
            recipient_key=self.folder / "recipient.key",
            recipient_key_id=self.recipient.key_id,
            intake_key=self.folder / "intake.key",
            cms_recipient_key=cms if key is not None else None,
            cms_recipient_key_id=key.public_key.key_id if key is not None else None,
        )

    @property
    def line(self) -> Line:
        """As the settings file has it."""
        return Line(
            name="factory-1",
            vendors={"vendor": load_public_key(self.folder / "vendor.pub")},
            assemblers={"assembly": load_public_key(self.folder / "assembly.pub")},
            keys=self.keys,
            store=self.store,
            issuing=open_adapter(
                "brski.signer",
                load_settings(self.settings, FactoryFile).factory.issuing_table,
                source=self.settings,
                where="factory.issuing",
            ),
            bundling=load_signer(self.folder / "bundle.key", deterministic=True),
            masa_url="masa.example.com",
            issuing_key=self.folder / "issuing.key",
        )

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        self.store.mkdir(exist_ok=True)
        with open_ledger(self.store / "ledger.db") as ledger:
            yield ledger

    def take(
        self,
        path: Path,
        *,
        accept_gap: bool = False,
        executor: Executor | None = None,
        keys: Keys | None = None,
        vendors: Mapping[str, PublicKey] | None = None,
    ) -> IntakeReport:
        """Take a batch in, in this process."""
        with self.ledger() as ledger:
            return take_in(
                path,
                vendors=vendors or self.line.vendors,
                keys=keys or self.keys,
                store=self.store,
                ledger=ledger,
                executor=executor or InProcess(),
                accept_gap=accept_gap,
            )

    def make(
        self,
        built: Path,
        out: str = "bundle",
        *,
        line: Line | None = None,
        executor: Executor | None = None,
    ) -> MakeReport:
        """Make the bundles of a build list, in this process."""
        with self.ledger() as ledger:
            return make_bundles(
                line or self.line,
                built,
                self.folder / out,
                ledger=ledger,
                executor=executor or InProcess(),
            )

    def summary(self) -> dict[str, object]:
        with self.ledger() as ledger:
            return ledger.summary()

    def records(self, name: str = "bundle") -> list[DeviceRecord]:
        """What a bundle says, as the database would read it."""
        with (self.folder / name).open("rb") as file:
            keys = {"factory-1": load_public_key(self.folder / "bundle.pub")}
            return list(open_bundle(file, keys).records())

    def revocations(self, name: str = "bundle") -> list[Revocation]:
        """What a bundle revokes."""
        with (self.folder / name).open("rb") as file:
            keys = {"factory-1": load_public_key(self.folder / "bundle.pub")}
            return list(open_bundle(file, keys).revocations())

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

    def accept_cms(self) -> bytes:
        """From now on the factory takes batches in CMS.

        Returns:
            The private scalar of its key for them, big-endian.
        """
        key = ec.generate_private_key(ec.SECP384R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(self.folder / "recipient-cms.key", private)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "recipient-cms.pub").write_bytes(public)
        named = (
            'cms_recipient_key = "recipient-cms.key"\ncms_recipient_public = "recipient-cms.pub"\n'
        )
        text = self.settings.read_text()
        self.settings.write_text(text.replace("intake_key", f"{named}intake_key", 1))
        return key.private_numbers().private_value.to_bytes(48, "big")

    def cms_batch(
        self,
        chips: Sequence[SeedRecord],
        name: str = "batch",
        *,
        records_a_chunk: int = 3,
        sequence: int = 1,
        predecessor: bytes | None = None,
    ) -> tuple[Path, MintedBatch]:
        """Mint a batch file in CMS, once the factory takes them."""
        key = self.signer("vendor")
        recipient = CMSPublicKey(load_public_key(self.folder / "recipient-cms.pub"))
        header = build_header(
            vendor_id="vendor",
            vendor_key=key.public_key,
            product="sensor",
            batch_id=name,
            sequence=sequence,
            predecessor=predecessor,
            derivation_profile="hmac-drbg-p256",
            record_count=len(chips),
            created_at=CREATED,
            recipient=recipient,
            records_a_chunk=records_a_chunk,
        )
        path = self.folder / name
        with tempfile.TemporaryFile() as spool, path.open("wb") as out:
            minted = mint_cms(header, chips, recipient=recipient, signer=key, out=out, spool=spool)
        return path, minted

    def build_list(
        self,
        chips: Iterable[tuple[bytes, str]],
        name: str = "list",
        *,
        generation: int = 1,
        created_at: datetime = CREATED,
        product: str = "sensor",
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
                created_at=created_at,
                product=product,
                generation=generation,
                signer=self.signer(signer),
            )
        return path


def found(
    folder: Path, *, levels: int = 3, algorithm: str = "P-256", token: TokenPlace | None = None
) -> FactoryKit:
    """A factory that knows one vendor and one assembler; a stranger's key lies beside."""
    found_factory(
        folder,
        name="factory-1",
        title="Example OEM",
        masa_url="masa.example.com",
        levels=levels,
        algorithm=algorithm,
        created_at=CREATED,
        token=token,
    )
    return name_peers(folder)


def name_peers(folder: Path) -> FactoryKit:
    """Give a founded factory its vendor and assembler."""
    for name in ("vendor", "assembly", "stranger"):
        write_signing_key(folder, name)
    with (folder / "factory.toml").open("a") as settings:
        for table, name in (("vendor", "vendor"), ("assembler", "assembly")):
            key = json.dumps(f"{name}.pub")
            settings.write(f'\n[[factory.{table}]]\nname = "{name}"\nkey = {key}\n')
    return FactoryKit(folder=folder)


def chips(count: int, *, start: int = 0) -> list[SeedRecord]:
    """Records with seeds that can be told apart, and looked for."""
    return [
        SeedRecord(
            chip_id=b"chip%04d" % number,
            seed=Seed(hashlib.sha256(b"seed of chip %d" % number).digest()),
        )
        for number in range(start, start + count)
    ]


def serials(records: Iterable[SeedRecord]) -> list[tuple[bytes, str]]:
    """Each chip with a serial number."""
    return [(record.chip_id, f"SN-{record.chip_id[-4:].decode()}") for record in records]


def private_octets(key: DevicePrivateKey) -> bytes:
    """The private scalar, 32 octets big-endian."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.private_numbers().private_value.to_bytes(32, "big")
