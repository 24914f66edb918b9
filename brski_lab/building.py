"""Devices are made: the vendor mints, the factory certifies, the assembly loads each one."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from brski.edge.atomic_file import open_atomically
from brski.edge.signers.file import load_signer
from brski.edge.signers.public_key import load_public_key
from brski.idevid.build_list import BuildEntry, BuildListWriter
from brski.idevid.bundle import open_bundle
from brski.idevid.record import DeviceRecord, Presentation
from brski.pki.keys import parse_certificate
from brski_lab.names import ASSEMBLY, FACTORY, PRODUCT, VENDOR
from brski_lab.shell import Shell
from brski_lab.vendor import MAIN, Batch, chip_ids, seed_of
from device_client.identity.from_seed import Fuse, write_fuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A device to be built."""

    serial_number: str
    presentation: Presentation
    batch: Batch = MAIN
    on_demand: bool = False  # certified when somebody has met it


async def build(
    folder: Path, vendor: Shell, factory: Shell, devices: Sequence[Ordered], now: datetime
) -> dict[Batch, str]:
    """The vendor mints, the assembly says what became of each chip, the factory certifies.

    Returns:
        The digest of each batch, hex.
    """
    settings = folder / "oem" / "factory.toml"
    predecessor: tuple[str, ...] = ()
    digests: dict[Batch, str] = {}
    (folder / "batches").mkdir()
    for sequence, (batch, members) in enumerate(_by_batch(devices).items(), 1):
        out = folder / "batches" / batch.name
        digest = await vendor.run(
            "mint", "--count", str(len(members)), "--vendor", VENDOR,
            "--product", PRODUCT, "--key", folder / "keys" / "vendor.key",
            "--recipient", folder / "oem" / "recipient.pub", "--chips", _chips(folder, batch),
            "--batch-id", batch.name, "--profile", batch.profile, "--out", out,
            "--sequence", str(sequence), *predecessor,
        )  # fmt: skip
        digests[batch] = digest.strip()
        predecessor = ("--predecessor", digests[batch])
        await factory.run("factory", "intake", out, "-s", settings)
    path = folder / "build-list"
    built = {device for device in devices if not device.on_demand}
    write_build_list(folder, path, devices, built, now, generation=1)
    (folder / "bundles").mkdir()
    await factory.run(
        "factory", "make", path, "-o", folder / "bundles",
        "-s", settings,
    )  # fmt: skip
    return digests


def _by_batch(devices: Sequence[Ordered]) -> dict[Batch, list[Ordered]]:
    """The devices of each batch, in the order of their serial numbers."""
    batches: dict[Batch, list[Ordered]] = {}
    for device in sorted(devices, key=lambda device: device.serial_number):
        batches.setdefault(device.batch, []).append(device)
    return batches


def _chips(folder: Path, batch: Batch) -> Path:
    return folder / "chips" / batch.name


def _placed(folder: Path, devices: Sequence[Ordered]) -> Iterator[tuple[bytes, Ordered]]:
    """Which chip went into which device."""
    for batch, members in _by_batch(devices).items():
        yield from zip(chip_ids(_chips(folder, batch)), members, strict=True)


def write_build_list(
    folder: Path,
    path: Path,
    devices: Sequence[Ordered],
    listed: Collection[Ordered],
    now: datetime,
    *,
    generation: int,
) -> None:
    """Sign which chip went into each of the *listed* devices."""
    with tempfile.TemporaryFile() as spool, open_atomically(path, mode=0o644) as file:
        writer = BuildListWriter(spool)
        placed = sorted(_placed(folder, devices), key=lambda pair: pair[1].serial_number)
        for chip_id, device in placed:
            if device not in listed:
                continue
            writer.add(
                BuildEntry(
                    chip_id=chip_id,
                    serial_number=device.serial_number,
                    presentation=device.presentation,
                )
            )
        writer.finish(
            file,
            signer_id=ASSEMBLY,
            created_at=now,
            product=PRODUCT,
            generation=generation,
            signer=load_signer(folder / "keys" / "assembly.key"),
        )


def records_of(folder: Path) -> dict[str, DeviceRecord]:
    """What the factory published."""
    keys = {FACTORY: load_public_key(folder / "oem" / "bundle.pub")}
    records: dict[str, DeviceRecord] = {}
    for path in (folder / "bundles").iterdir():
        with path.open("rb") as file:
            records |= {each.serial_number: each for each in open_bundle(file, keys).records()}
    return records


def burn(
    folder: Path,
    devices: Sequence[Ordered],
    records: Mapping[str, DeviceRecord],
    masa_chain: Sequence[x509.Certificate],
) -> None:
    """The assembly puts into each device what it needs besides its seed."""
    (folder / "devices").mkdir(exist_ok=True)
    (folder / "keystores").mkdir(exist_ok=True)
    issuer = next(iter(records.values())).idevid_issuer
    for chip_id, device in _placed(folder, devices):
        loaded: tuple[bytes, ...] = ()
        if device.presentation is Presentation.CARRIED:
            record = records[device.serial_number]
            loaded = (record.certificate, *record.intermediates)
        fuse = Fuse(
            seed=seed_of(_chips(folder, device.batch), chip_id),
            chip_id=chip_id,
            serial_number=device.serial_number,
            idevid_issuer=issuer,
            derivation_profile=device.batch.profile,
            voucher_anchors=tuple(masa_chain[-1:]),
            certificates=tuple(parse_certificate(octets) for octets in loaded),
        )
        write_fuse(folder / "devices" / f"{device.serial_number}.fuse", fuse)
