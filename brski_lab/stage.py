"""Sets the stage: a folder with everybody's keys and settings, and every program started."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.edge.signers.file import load_chain
from brski_lab import pki
from brski_lab.building import Ordered, build, burn, records_of, write_build_list
from brski_lab.children import ROOM, Children, open_socket, port_of
from brski_lab.names import FACTORY
from brski_lab.settings_files import name_peers, write_settings
from brski_lab.shell import Shell
from brski_lab.together import together


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
        await together(self.vendor.end(), self.factory.end(), self.database.end())


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
    name_peers(folder, oem, on_demand=on_demand)
    write_settings(folder, ports, [*(d.serial_number for d in devices), *expected], refused,
                    local_source=local_source, on_demand=on_demand)  # fmt: skip

    async def make_devices() -> None:
        digests = await build(folder, shells.vendor, shells.factory, devices, now)
        leaked = [digest for batch, digest in digests.items() if batch.leaked]
        await together(
            _load(folder, shells.database),
            _mark(folder, shells.database, leaked),
            _register(folder, shells.factory, devices, now),
        )
        await shells.end()
        burn(folder, devices, records_of(folder), people["masa-signer"].chain)

    # beside the factory, unless it reads the OEM's database, which is not there yet
    if local_source:
        await make_devices()
        await _serve(folder, children, sockets, (*_OEM, *_REGISTRAR))
    else:
        await together(make_devices(), _serve(folder, children, sockets, _REGISTRAR))
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
    vendor, factory, database = await together(
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
    write_build_list(folder, path, devices, listed, now, generation=2)
    await factory.run("factory", "register", path, "-s", folder / "oem" / "factory.toml")


async def _serve(
    folder: Path,
    children: Children,
    sockets: Mapping[str, socket.socket],
    programs: Sequence[_Program],
) -> None:
    """Start *programs*, all at once, each on its sockets."""
    await together(
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


def read_roots(stage: Stage) -> dict[str, tuple[x509.Certificate, ...]]:
    """The three anchors of the stage, by the names that kept artifacts have."""
    return {
        "oem-root": load_chain(stage.oem_root),
        "masa": load_chain(stage.masa_anchor),
        "owner-ca": load_chain(stage.owner_root),
    }
