"""What goes out: bundles are written into the store, read back as the database will, handed out.

A bundle is in the store, whole and verified, before its list is on record as finished; what is
handed out later are these octets, whatever the settings have become (docs/factory.md).
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from brski.edge.atomic_file import file_error, open_atomically
from brski.errors import FileUnusable, StateError
from brski.idevid.bundle import (
    BundleOrigin,
    BundleWriter,
    CertifiedDevice,
    Revocation,
    open_bundle,
)
from brski.pki.signer import Signer
from oem_backend.factory.ledger.at_work import Made
from oem_backend.factory.ledger.lists import KeptBundle

_COPY_OCTETS: Final = 1 << 20


def bundle_name(build_list_digest: bytes, batch_digest: bytes) -> str:
    """How the bundle of one list and one batch is called in a folder."""
    return f"{build_list_digest.hex()[:16]}-{batch_digest.hex()[:16]}.bundle"


def keep_bundle(
    folder: Path,
    origin: BundleOrigin,
    made: Iterable[Made],
    revocations: Mapping[int, Sequence[Revocation]],
    signer: Signer,
    *,
    name: str | None = None,
) -> KeptBundle:
    """Write a bundle into *folder*, once it has been read back as the database will read it.

    Args:
        made: in the order of serial numbers.
        revocations: by place.
        signer: the factory's key, deterministic.
        name: of the file; :func:`bundle_name` when None.

    Raises:
        BundleRefused, PeerError: it cannot be read back; nothing stays then.
        Unavailable: the disk is full or failing.
    """
    with _drafts_in(folder), tempfile.TemporaryFile(dir=folder) as file:
        with tempfile.TemporaryFile(dir=folder) as spool:
            writer = BundleWriter(spool, origin)
            for each in made:
                writer.add(_device(each, tuple(revocations.get(each.place, ()))))
            digest = writer.finish(file, signer)
        records = _read_back(file, origin, signer)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").digest()
        file.seek(0)
        path = folder / (name or bundle_name(origin.build_list_digest, origin.batch_digest))
        with open_atomically(path, mode=0o644) as kept:
            shutil.copyfileobj(file, kept, _COPY_OCTETS)
    return KeptBundle(
        batch_digest=origin.batch_digest, digest=digest, file_sha256=sha256, records=records
    )


@contextmanager
def _drafts_in(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise file_error(err, folder, "written to") from err


def _device(made: Made, replaces: tuple[Revocation, ...]) -> CertifiedDevice:
    return CertifiedDevice(
        serial_number=made.serial_number,
        presentation=made.presentation,
        certificate=made.certificate,
        chunk=made.chunk,
        replaces=replaces,
    )


def _read_back(file: BinaryIO, origin: BundleOrigin, signer: Signer) -> int:
    file.seek(0)
    bundle = open_bundle(file, {origin.factory_id: signer.public_key})
    return sum(1 for _ in bundle.records())


def places_of(out: Path, build_list_digest: bytes, batch_digests: Sequence[bytes]) -> list[Path]:
    """Where the bundles of one list go: *out* itself for one bundle, else into the folder *out*.

    Raises:
        FileUnusable: there are several, and *out* is no folder.
    """
    if out.is_dir():
        return [out / bundle_name(build_list_digest, batch) for batch in batch_digests]
    if len(batch_digests) != 1:
        raise FileUnusable(
            f"the list has chips of {len(batch_digests)} batches, and a bundle is of one",
            hint=f"make a folder for {len(batch_digests)} bundles and say --out FOLDER",
        )
    return [out]


def hand_out(kept: Path, sha256: bytes, out: Path) -> None:
    """Copy a bundle out of the store, if it is still the one that was put there.

    Raises:
        StateError: the store has lost it, or it has changed; nothing is handed out.
        FileUnusable, Unavailable: *out* cannot be written.
    """
    if not kept.is_file():
        raise StateError(f"the store has lost the bundle {kept}")
    actual = hashlib.sha256()
    with kept.open("rb") as file, open_atomically(out, mode=0o644) as copy:
        for piece in _pieces(file):
            actual.update(piece)
            copy.write(piece)
        if actual.digest() != sha256:
            raise StateError(f"{kept} is not the bundle that was put there")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_COPY_OCTETS):
        yield piece
