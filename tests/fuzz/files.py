"""Targets: files that cross between vendor, factory, database and owner; records as JSON."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Final

import cbor2

from brski.idevid import build_list, bundle, manifest
from brski.idevid.record_json import decode_records, encode_records
from brski.pki import cbor, cose, der
from brski.seed import batch, batch_file
from brski.seed.cms_batch import open_cms_batch, sign_cms
from tests.fuzz import bench
from tests.fuzz.harness import Target, either


def _bundle(data: bytes) -> None:
    opened = bundle.open_bundle(io.BytesIO(data), bench.FILE_SIGNERS)
    replaced = list(opened.revocations())
    assert len(replaced) == opened.header.revocation_count
    assert len(list(opened.records())) == opened.header.record_count


def _manifest(data: bytes) -> None:
    opened = manifest.open_manifest(
        io.BytesIO(data), bench.FILE_SIGNERS, owner=bench.OWNER, now=bench.CREATED
    )
    records = list(opened.records())
    assert len(records) == opened.record_count
    again = io.BytesIO()
    manifest.write_manifest(again, io.BytesIO(), records, opened.terms, bench.FILE_SIGNER)
    assert again.getvalue() == data or len(records) > 1


def _build_list(data: bytes) -> None:
    opened = build_list.open_build_list(io.BytesIO(data), bench.FILE_SIGNERS)
    entries = list(opened.entries())
    assert len(entries) == opened.header.entry_count
    assert len({entry.chip_id for entry in entries}) == len(entries)


def _seed_batch(data: bytes) -> None:
    opened = batch_file.open_batch(
        io.BytesIO(data), bench.FILE_SIGNERS, bench.RECIPIENT.public_key.key_id
    )
    for index, sealed in opened.sealed_chunks():
        batch.open_chunk(opened.header_octets, index, sealed, bench.RECIPIENT)


def _seed_batch_inside(data: bytes) -> None:
    """Header and plaintext of one chunk, sealed and signed."""
    header, plaintext = bench.split(data)
    info = batch.chunk_info(header, 0)
    sealed = bench.RECIPIENT.public_key.seal(plaintext, info)
    payload = batch.encode_payload(header, [hashlib.sha256(sealed).digest()])
    signed = cose.sign1(payload, bench.FILE_SIGNER, external_aad=batch.LABEL.encode())
    label = cbor.encode(batch.LABEL)
    _seed_batch(label + cbor.encode(signed) + cbor.encode(sealed))


def _cms_batch(data: bytes) -> None:
    vendors = {"signer-1": bench.CMS_VENDOR.public_key}
    opened = open_cms_batch(io.BytesIO(data), vendors, bytes(32))
    assert opened.header.chunk_count == len(list(opened.sealed_chunks()))


def _cms_batch_inside(data: bytes) -> None:
    """The signed lines of a batch in CMS, and what stands behind them."""
    lines, sealed = bench.split(data)
    if lines:
        _cms_batch(sign_cms(lines, bench.CMS_VENDOR) + sealed)


def _records(data: bytes) -> None:
    records = decode_records(data)
    assert decode_records(encode_records(records)) == records


def _cbor(data: bytes) -> None:
    """What is taken is what another library reads and, told to be deterministic, writes."""
    item = cbor.decode(data)
    assert cbor.encode(item) == data
    assert cbor2.loads(data) == item
    assert cbor2.dumps(item, canonical=True) == data or _long_keys(item)


def _long_keys(item: object) -> bool:
    """cbor2 puts shorter keys first (RFC 7049), we go by their octets alone (RFC 8949)."""
    if isinstance(item, list):
        return any(map(_long_keys, item))
    return isinstance(item, dict) and (len(item) > 1 or any(map(_long_keys, item.values())))


def _der(data: bytes) -> None:
    der.check_der(data)
    assert bench.recoded(data) == data


def _inside(label: str, parse: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Header and chunk of a file, signed."""

    def run(data: bytes) -> None:
        parse(bench.signed_file(label, *bench.split(data)))

    return run


FILES: Final = (
    Target(name="seed-batch", run=either(_seed_batch, _seed_batch_inside)),
    Target(name="cms-batch", run=either(_cms_batch, _cms_batch_inside)),
    Target(name="build-list", run=either(_build_list, _inside(build_list.LABEL, _build_list))),
    Target(name="bundle", run=either(_bundle, _inside(bundle.LABEL, _bundle))),
    Target(name="manifest", run=either(_manifest, _inside(manifest.LABEL, _manifest))),
    Target(name="device-record", run=_records),
    Target(name="cbor", run=_cbor, octets=2048),
    Target(name="der", run=_der, octets=2048),
)
