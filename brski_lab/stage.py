"""Sets the stage: a folder with everybody's keys and settings, and every program started."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.edge.atomic_file import open_atomically, write_atomically
from brski.edge.signers.file import load_chain, load_signer
from brski.edge.signers.public_key import load_public_key
from brski.idevid.build_list import BuildEntry, BuildListWriter
from brski.idevid.bundle import open_bundle
from brski.idevid.record import DeviceRecord, Presentation
from brski.pki.keys import parse_certificate
from brski_lab import pki, waiting
from brski_lab.children import ROOM, Children, open_socket, port_of
from brski_lab.shell import Shell
from brski_lab.vendor import MAIN, Batch, chip_ids, seed_of
from device_client.identity.from_seed import Fuse, write_fuse

VENDOR: Final = "example-silicon"
FACTORY: Final = "factory-1"
ASSEMBLY: Final = "assembly-1"
PRODUCT: Final = "sensor"
MANUFACTURER: Final = "example-oem"
SERIAL_PATTERN: Final = "SN-[0-9A-F]{4}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A device to be built."""

    serial_number: str
    presentation: Presentation
    batch: Batch = MAIN
    on_demand: bool = False  # certified when somebody has met it


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where everything is once the programs run."""

    folder: Path
    registrar_port: int
    oem_root: Path
    masa_anchor: Path
    owner_root: Path
    registrar_settings: Path

    def fuse_path(self, serial_number: str) -> Path:
        """What is burnt into a device."""
        return self.folder / "devices" / f"{serial_number}.fuse"

    def keystore_path(self, serial_number: str) -> Path:
        """Where a device keeps its LDevID."""
        return self.folder / "keystores" / serial_number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shells:
    """Those who are there before anything is online; each a process of its own."""

    vendor: Shell
    factory: Shell
    database: Shell

    async def end(self) -> None:
        await asyncio.gather(self.vendor.end(), self.factory.end(), self.database.end())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    """One that stays up."""

    name: str
    command: tuple[str, ...] = ("serve",)
    settings: str
    listens: Mapping[str, str]  # which option, on which socket


_OEM: Final = (
    _Program(
        name="brski-oem",
        command=("database", "serve"),
        settings="oem.toml",
        listens={"--listen": "service"},
    ),
    _Program(
        name="brski-masa",
        settings="masa.toml",
        listens={"--listen": "masa", "--manage": "management"},
    ),
)
_REGISTRAR: Final = (
    _Program(name="brski-registrar", settings="registrar.toml", listens={"--listen": "pledges"}),
)


async def set_stage(
    folder: Path,
    children: Children,
    devices: Sequence[Ordered],
    *,
    refused: Sequence[str] = (),
    expected: Sequence[str] = (),
    local_source: bool = False,
) -> Stage:
    """Make everybody in *folder*, run the factory on *devices*, and start the online programs.

    Args:
        devices: to be minted, built and certified.
        refused: serial numbers that the MASA gives no voucher.
        expected: further serial numbers that the registrar would admit.
        local_source: let the registrar read the OEM's database file instead of asking its service.

    Raises:
        LocalError: one of the programs did not do its part.
    """
    with ExitStack() as stack:
        sockets = {name: open_socket() for name in ("masa", "management", "service", "pledges")}
        for listening in sockets.values():
            stack.callback(listening.close)  # those that no program has taken over
        return await _set(
            folder, children, devices, sockets, refused, expected, local_source=local_source
        )


async def _set(
    folder: Path,
    children: Children,
    devices: Sequence[Ordered],
    sockets: Mapping[str, socket.socket],
    refused: Sequence[str],
    expected: Sequence[str],
    *,
    local_source: bool,
) -> Stage:
    now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - the lab is an edge
    ports = {name: port_of(listening) for name, listening in sockets.items()}
    masa_address = f"{pki.LOOPBACK}:{ports['masa']}"
    people = _make_people(folder, now)
    oem = folder / "oem"
    shells = await _open_shells(children)
    await shells.factory.run(
        "init", oem, "--name", FACTORY, "--title", "Example OEM",
        "--masa-url", masa_address, "--levels", "2",
    )  # fmt: skip
    on_demand = any(device.on_demand for device in devices)
    _name_peers(folder, oem, on_demand=on_demand)
    _write_settings(folder, ports, [*(d.serial_number for d in devices), *expected], refused,
                    local_source=local_source, on_demand=on_demand)  # fmt: skip

    async def make_devices() -> None:
        digests = await _build(folder, shells, devices, now)
        leaked = [digest for batch, digest in digests.items() if batch.leaked]
        await asyncio.gather(
            _load(folder, shells.database),
            _mark(folder, shells.database, leaked),
            _register(folder, shells.factory, devices, now),
        )
        await shells.end()
        _burn(folder, devices, _records(folder), people["masa-signer"].chain)

    # beside the factory, unless it reads the OEM's database, which is not there yet
    if local_source:
        await make_devices()
        await _serve(folder, children, sockets, (*_OEM, *_REGISTRAR))
    else:
        await asyncio.gather(make_devices(), _serve(folder, children, sockets, _REGISTRAR))
        await _serve(folder, children, sockets, _OEM)
    if on_demand:
        await children.start("brski-oem", "factory", "watch", "-s", oem / "factory.toml")
    return Stage(
        folder=folder,
        registrar_port=ports["pledges"],
        oem_root=oem / "root.pem",
        masa_anchor=people["masa-signer"].root_path,
        owner_root=people["registrar"].root_path,
        registrar_settings=folder / "registrar.toml",
    )


async def _open_shells(children: Children) -> _Shells:
    vendor, factory, database = await asyncio.gather(
        *map(children.shell, ("brski-lab-vendor", ROOM, "brski-oem"))
    )
    return _Shells(vendor=vendor, factory=factory, database=database)


async def _load(folder: Path, database: Shell) -> None:
    """What the factory published goes into the OEM's database."""
    for bundle in sorted((folder / "bundles").iterdir()):
        await database.run("database", "load", bundle, "-s", folder / "oem.toml")


async def _register(
    folder: Path, factory: Shell, devices: Sequence[Ordered], now: datetime
) -> None:
    """A list of its own for the devices that are certified when they are met."""
    listed = {device for device in devices if device.on_demand}
    if not listed:
        return
    path = folder / "waiting-list"
    _write_build_list(folder, path, devices, listed, now, generation=2)
    await factory.run("factory", "register", path, "-s", folder / "oem" / "factory.toml")


async def _serve(
    folder: Path,
    children: Children,
    sockets: Mapping[str, socket.socket],
    programs: Sequence[_Program],
) -> None:
    """Start *programs*, all at once, each on its sockets."""
    await asyncio.gather(
        *(
            children.serve(
                program.name,
                *program.command,
                "-s",
                folder / program.settings,
                *(
                    argument
                    for option, socket_name in program.listens.items()
                    for argument in (option, f"fd:{sockets[socket_name].fileno()}")
                ),
                sockets=[sockets[socket_name] for socket_name in program.listens.values()],
            )
            for program in programs
        )
    )


async def _mark(folder: Path, database: Shell, leaked: Sequence[str]) -> None:
    """A batch may be marked before anything of it is loaded."""
    for digest in leaked:
        await database.run(
            "database", "mark", "--batch", digest, "--revoked",
            "--reason", "seed-leak", "-s", folder / "oem.toml",
        )  # fmt: skip


def _make_people(folder: Path, now: datetime) -> dict[str, pki.Credential]:
    """Owner, MASA and the OEM's service; each has a PKI of its own."""
    keys = folder / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    pki.write_signing_key(keys, "vendor")
    pki.write_signing_key(keys, "assembly")
    owner = pki.make_authority(keys, "owner", "Example Owner Root CA", now=now)
    masa = pki.make_authority(keys, "masa", "Example MASA Root CA", now=now)
    service = pki.make_authority(keys, "service", "Example OEM Services CA", now=now)
    return {
        "owner": owner,
        "registrar": pki.make_end_entity(
            keys,
            "registrar",
            "registrar.example.com",
            now=now,
            above=owner,
            usages=pki.REGISTRAR_USAGES,
        ),
        "masa-signer": pki.make_end_entity(
            keys, "masa-signer", "Example MASA", now=now, above=masa
        ),
        "masa-tls": pki.make_end_entity(
            keys, "masa-tls", "masa", now=now, above=service, usages=pki.SERVER_USAGES
        ),
        "oem-tls": pki.make_end_entity(
            keys, "oem-tls", "devices", now=now, above=service, usages=pki.SERVER_USAGES
        ),
    }


def _name_peers(folder: Path, oem: Path, *, on_demand: bool) -> None:
    """Tell the factory whose batches and build lists it may take, and where demands lie."""
    path = oem / "factory.toml"
    text = path.read_text()
    for table, name, key in (
        ("vendor", VENDOR, "vendor.pub"),
        ("assembler", ASSEMBLY, "assembly.pub"),
    ):
        text += (
            f"\n[[factory.{table}]]\nname = {_toml(name)}\nkey = {_toml(folder / 'keys' / key)}\n"
        )
    if on_demand:
        waiting.make_folders(folder)
        text += waiting.factory_table(folder)
    write_atomically(path, text.encode(), mode=0o644)


async def _build(
    folder: Path, shells: _Shells, devices: Sequence[Ordered], now: datetime
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
        digest = await shells.vendor.run(
            "mint", "--count", str(len(members)), "--vendor", VENDOR,
            "--product", PRODUCT, "--key", folder / "keys" / "vendor.key",
            "--recipient", folder / "oem" / "recipient.pub", "--chips", _chips(folder, batch),
            "--batch-id", batch.name, "--profile", batch.profile, "--out", out,
            "--sequence", str(sequence), *predecessor,
        )  # fmt: skip
        digests[batch] = digest.strip()
        predecessor = ("--predecessor", digests[batch])
        await shells.factory.run("factory", "intake", out, "-s", settings)
    path = folder / "build-list"
    built = {device for device in devices if not device.on_demand}
    _write_build_list(folder, path, devices, built, now, generation=1)
    (folder / "bundles").mkdir()
    await shells.factory.run(
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


def _write_build_list(
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


def _records(folder: Path) -> dict[str, DeviceRecord]:
    """What the factory published."""
    keys = {FACTORY: load_public_key(folder / "oem" / "bundle.pub")}
    records: dict[str, DeviceRecord] = {}
    for path in (folder / "bundles").iterdir():
        with path.open("rb") as file:
            records |= {each.serial_number: each for each in open_bundle(file, keys).records()}
    return records


def _burn(
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


def _write_settings(
    folder: Path,
    ports: Mapping[str, int],
    expected: Sequence[str],
    refused: Sequence[str],
    *,
    local_source: bool,
    on_demand: bool,
) -> None:
    keys = folder / "keys"
    texts = {
        "oem.toml": f"""
[database]
path = {_toml(folder / "devices.db")}
[[database.factory]]
name = {_toml(FACTORY)}
key = {_toml(folder / "oem" / "bundle.pub")}
[database.service]
key = {_toml(keys / "oem-tls.key")}
chain = {_toml(keys / "oem-tls-chain.pem")}
registrar_anchors = {_toml(keys / "owner-root.pem")}
queries_per_s = 10000
burst = 10000
{waiting.database_table(folder) if on_demand else ""}
""",
        "masa.toml": f"""
database = {_toml(folder / "devices.db")}
log = {_toml(folder / "masa.db")}
[tls]
key = {_toml(keys / "masa-tls.key")}
chain = {_toml(keys / "masa-tls-chain.pem")}
[signer]
key = {_toml(keys / "masa-signer.key")}
chain = {_toml(keys / "masa-signer-chain.pem")}
[policy]
refused = {json.dumps(list(refused))}
""",
        "registrar.toml": f"""
journal = {_toml(folder / "registrar.db")}
[registrar]
key = {_toml(keys / "registrar.key")}
chain = {_toml(keys / "registrar-chain.pem")}
[ca]
kind = "embedded"
key = {_toml(keys / "owner.key")}
chain = {_toml(keys / "owner-chain.pem")}
[admission]
expected = {json.dumps(list(expected))}
[look_ups]
requests_per_s = 10000.0
requests_per_s_and_address = 10000.0
per_s = 10000.0
in_flight = 256
keep_unknown_s = {0 if on_demand else 10}
{waiting.registrar_table() if on_demand else ""}
[[manufacturer]]
name = {_toml(MANUFACTURER)}
anchors = {_toml(folder / "oem" / "root.pem")}
serial_pattern = {_toml(SERIAL_PATTERN)}
[manufacturer.source]
{_source(folder, ports, local=local_source, on_demand=on_demand)}
[manufacturer.masa]
anchors = {_toml(keys / "service-root.pem")}
hosts = ["{pki.LOOPBACK}:{ports["masa"]}"]
""",
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode(), mode=0o644)


def _source(folder: Path, ports: Mapping[str, int], *, local: bool, on_demand: bool) -> str:
    if local:
        return f'kind = "database"\npath = {_toml(folder / "devices.db")}'
    keys = folder / "keys"
    return "\n".join(
        (
            'kind = "http"',
            f'url = "https://{pki.LOOPBACK}:{ports["service"]}"',
            f"anchors = {_toml(keys / 'service-root.pem')}",
            f"client_key = {_toml(keys / 'registrar.key')}",
            f"client_chain = {_toml(keys / 'registrar-chain.pem')}",
            "connections = 32",
            f"on_demand = {json.dumps(on_demand)}",
        )
    )


def _toml(value: str | Path) -> str:
    return json.dumps(str(value))


def read_roots(stage: Stage) -> dict[str, tuple[x509.Certificate, ...]]:
    """The three anchors of the stage, by the names that kept artifacts have."""
    return {
        "oem-root": load_chain(stage.oem_root),
        "masa": load_chain(stage.masa_anchor),
        "owner-ca": load_chain(stage.owner_root),
    }
