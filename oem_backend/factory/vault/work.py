"""What workers do with a vault besides deriving keys: authenticate it, and open it to see.

Octets in, octets out, as in :mod:`oem_backend.factory.work`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from brski.errors import Malformed
from brski.pki import cbor
from brski.seed.device_secret import Purpose, derive_secret, seal_secret
from brski.seed.recipient_key import HybridPublicKey
from brski.seed.vault_log import Head, Header, check_successor
from oem_backend.factory.vault.kept import KeptChunk, VaultAccess
from oem_backend.factory.vault.key import Source, encode_source, make_keys

MOST_OCTETS: Final = 1 << 27  # of a job


def encode_founding(source: Source, header: Header, head: Head) -> bytes:
    """A job for :func:`found`."""
    return cbor.encode([encode_source(source), header.encode(), head.encode()])


def found(job: bytes) -> bytes:
    """Make a vault's key where there is none, and authenticate its header and first head.

    Returns:
        For :func:`parse_macs`: both MACs.

    Raises:
        KeyUnusable: see :func:`oem_backend.factory.vault.key.make_keys`.
    """
    match cbor.decode(job):
        case [dict() as source, bytes() as header, bytes() as head]:
            named = {str(name): str(value) for name, value in source.items()}
            keys = make_keys(named, Header.parse(header))
            return cbor.encode([keys.mac(header), keys.mac(head)])
    raise Malformed("not a job for a new vault")


def encode_succession(vault: VaultAccess, before: bytes, before_mac: bytes, head: Head) -> bytes:
    """A job for :func:`sign_head`."""
    return cbor.encode([vault.encode(), before, before_mac, head.encode()])


def sign_head(job: bytes) -> bytes:
    """Authenticate a head, once the one before it has been verified.

    Returns:
        For :func:`parse_macs`: one MAC.

    Raises:
        KeyUnusable: the key is another.
        StateError: the head before was altered, or is not the one before.
    """
    match cbor.decode(job):
        case [vault, bytes() as before, bytes() as before_mac, bytes() as head]:
            keys = VaultAccess.parse(vault).open()
            keys.check_mac(before, before_mac, "the head")
            check_successor(Head.parse(head), Head.parse(before), before_mac)
            return cbor.encode([keys.mac(head)])
    raise Malformed("not a job for a new head")


def parse_macs(answer: bytes, count: int) -> list[bytes]:
    """What :func:`found` and :func:`sign_head` answered.

    Raises:
        Malformed: it is something else.
    """
    items = cbor.decode(answer)
    if isinstance(items, list) and len(items) == count:
        macs = [item for item in items if isinstance(item, bytes) and len(item) == 32]
        if len(macs) == count:
            return macs
    raise Malformed("a worker came back with no MAC")


def encode_opening(chunks: Iterable[KeptChunk]) -> bytes:
    """A job for :func:`open_chunks`."""
    return cbor.encode([chunk.encode() for chunk in chunks])


def open_chunks(job: bytes) -> bytes:
    """Open every record of some chunks of one vault, to see that it can be.

    Returns:
        CBOR: how many records there were.

    Raises:
        KeyUnusable: the key is another.
        StateError: a record was altered; names it.
    """
    items = cbor.decode(job, max_octets=MOST_OCTETS)
    if not isinstance(items, list) or not items:
        raise Malformed("not a job of chunks")
    chunks = [KeptChunk.parse(item) for item in items]
    keys = chunks[0].vault.open()
    return cbor.encode(sum(1 for chunk in chunks for _ in chunk.open(keys)))


def encode_secret(chunk: KeptChunk, purpose: Purpose, recipient: HybridPublicKey) -> bytes:
    """A job for :func:`derive_device_secret`.

    Args:
        chunk: with the one record of the chip.
    """
    return cbor.encode([chunk.encode(), purpose.name, purpose.octets, recipient.encode()])


def derive_device_secret(job: bytes) -> bytes:
    """Derive one secret, and seal it to whom it is for.

    Returns:
        :class:`brski.seed.device_secret.SealedSecret`, encoded.

    Raises:
        KeyUnusable: the vault's key is another.
        StateError: the record was altered.
    """
    match cbor.decode(job):
        case [chunk, str(name), int(octets), bytes() as recipient]:
            purpose = Purpose(name=name, octets=octets)
            (record,) = KeptChunk.parse(chunk).open()
            secret = derive_secret(record.seed, record.chip_id, purpose)
            key = HybridPublicKey.parse(recipient)
            return seal_secret(secret, record.chip_id, purpose, key).encode()
    raise Malformed("not a job for a secret")
