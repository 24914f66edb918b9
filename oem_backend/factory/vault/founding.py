"""An empty vault is made, and its key where the kind has one to make (docs/vault.md)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from brski.errors import StateError
from brski.seed.vault import Stretching
from brski.seed.vault_log import NO_DIGEST, Head, Header, Kind, index_digest
from oem_backend.executors.port import Executor
from oem_backend.factory.vault.database import open_database
from oem_backend.factory.vault.keeper import VaultPlace
from oem_backend.factory.vault.witness import read_witness, write_witness
from oem_backend.factory.vault.work import encode_founding, found, parse_macs


def found_vault(
    place: VaultPlace, vault_id: bytes, stretching: Stretching | None, executor: Executor
) -> Header:
    """Make an empty vault.

    Args:
        vault_id: 16 random octets.
        stretching: of a passphrase; for that kind alone.

    Raises:
        StateError: there is one.
        KeyUnusable, Unavailable: its key cannot be made or had.
    """
    header = Header(vault_id=vault_id, kind=Kind(place.source["kind"]), stretching=stretching)
    head = Head(
        vault_id=vault_id,
        counter=0,
        previous=b"",
        records=0,
        chunks=0,
        index_digest=index_digest(()),
        entries=0,
        log_digest=NO_DIGEST,
    )
    _check_no_witness(place.witness)
    place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open_database(place.database) as database:
        if database.header() is not None:
            raise StateError(f"there is a vault at {place.database} already")
        job = encode_founding(place.source, header, head)
        with closing(executor.map(found, [job])) as answers:
            header_mac, head_mac = parse_macs(next(answers), 2)
        write_witness(place.witness, vault_id, 0, head_mac)
        with database.writing():
            database.found(header.encode(), header_mac, head.encode(), head_mac)
    return header


def _check_no_witness(path: Path) -> None:
    """One of a vault that was never changed may be left of a run that was cut off."""
    if path.exists() and read_witness(path).counter:
        raise StateError(f"{path} has seen a vault that is not there")
