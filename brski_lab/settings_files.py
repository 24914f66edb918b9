"""The settings file of each program on the lab's desk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from brski.edge.atomic_file import write_atomically
from brski_lab import pki, waiting
from brski_lab.names import ASSEMBLY, FACTORY, MANUFACTURER, SERIAL_PATTERN, VENDOR


def write_settings(
    folder: Path,
    ports: Mapping[str, int],
    expected: Sequence[str],
    refused: Sequence[str],
    *,
    local_source: bool,
    on_demand: bool,
) -> None:
    """One for the OEM's database, one for the MASA, one for the registrar.

    Args:
        expected: serial numbers that the registrar admits.
        refused: those that the MASA gives no voucher.
        local_source: the registrar reads the OEM's database file instead of asking its service.
        on_demand: devices may be certified when they are met.
    """
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
[rates]
requests_per_s = 10000
refusals_per_s = 10000
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


def name_peers(folder: Path, oem: Path, *, on_demand: bool) -> None:
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
