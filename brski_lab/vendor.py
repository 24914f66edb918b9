"""The silicon vendor: makes chips with a secret seed each, and tells the OEM in a sealed batch."""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import open_atomically, read_file, write_atomically
from brski.edge.signers.file import load_signer
from brski.edge.signers.public_key import load_public_key
from brski.pki.signer import Signer
from brski.seed.batch import MOST_RECORDS_A_CHUNK, build_header
from brski.seed.batch_file import mint
from brski.seed.cms_batch import mint_cms
from brski.seed.cms_keys import CMSPublicKey
from brski.seed.formats import BatchFormat
from brski.seed.profiles import profile
from brski.seed.recipient_key import HybridPublicKey
from brski.seed.record import SeedRecord
from brski.seed.secret import LEAST_SEED_OCTETS, Seed

_CHIP_ID_OCTETS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One seed batch of the stage."""

    name: str  # the vendor's for it, and the folder's of its chips
    profile: str  # how the keys of its chips are derived
    leaked: bool = False  # its seeds are known to others: the OEM marks it


MAIN: Final = Batch(name="batch-1", profile="hmac-drbg-p256")
LEAKED: Final = Batch(name="batch-leaked", profile="hmac-drbg-p256", leaked=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the vendor is asked to make."""

    vendor_id: str
    product: str
    batch_id: str
    sequence: int
    predecessor: bytes | None
    profile: str
    count: int
    created_at: datetime  # aware UTC, whole seconds
    records_a_chunk: int = MOST_RECORDS_A_CHUNK
    form: BatchFormat = BatchFormat.COSE


def mint_batch(order: Order, *, key: Path, recipient: Path, chips: Path, out: Path) -> bytes:
    """Make chips and their batch.

    Args:
        key: the vendor's signing key, PEM.
        recipient: the OEM's public key file; for a batch in CMS a PEM, public key or certificate.
        chips: folder for one file a chip, 0600: ``<chip id in hex>.chip`` holds its raw seed, as
            the silicon would.
        out: the batch file.

    Returns:
        The batch digest, 32 octets raw.

    Raises:
        UnknownFormat: a derivation profile that is not known.
        KeyUnusable, FileUnusable, BatchRefused, Unavailable: as its parts.
    """
    signer: Signer = load_signer(key)
    public = (
        CMSPublicKey(load_public_key(recipient))
        if order.form is BatchFormat.CMS
        else HybridPublicKey.parse(read_file(recipient))
    )
    header = build_header(
        vendor_id=order.vendor_id,
        vendor_key=signer.public_key,
        product=order.product,
        batch_id=order.batch_id,
        sequence=order.sequence,
        predecessor=order.predecessor,
        derivation_profile=order.profile,
        record_count=order.count,
        created_at=order.created_at,
        recipient=public,
        records_a_chunk=order.records_a_chunk,
    )
    octets = max(LEAST_SEED_OCTETS, profile(order.profile).least_seed_octets)
    chips.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as spool, open_atomically(out, mode=0o644) as file:
        made = (_make_chip(chips, octets) for _ in range(order.count))
        if isinstance(public, CMSPublicKey):
            minted = mint_cms(header, made, recipient=public, signer=signer, out=file, spool=spool)
        else:
            minted = mint(header, made, recipient=public, signer=signer, out=file, spool=spool)
    return minted.digest


def _make_chip(chips: Path, octets: int) -> SeedRecord:
    chip_id = secrets.token_bytes(_CHIP_ID_OCTETS)
    seed = Seed(secrets.token_bytes(octets))
    write_atomically(chips / f"{chip_id.hex()}.chip", seed.octets, mode=0o600, may_replace=False)
    return SeedRecord(chip_id=chip_id, seed=seed)


def chip_ids(chips: Path) -> tuple[bytes, ...]:
    """The chips in a folder, in the order of their ids."""
    return tuple(bytes.fromhex(path.stem) for path in sorted(chips.glob("*.chip")))


def seed_of(chips: Path, chip_id: bytes) -> Seed:
    """What is burnt into a chip."""
    return Seed(read_file(chips / f"{chip_id.hex()}.chip"))
