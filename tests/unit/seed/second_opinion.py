"""A seed batch written and read without ``brski.seed``: the second implementation.

From docs/seed-batch.md alone, with cbor2 for CBOR, cwt for COSE, and HPKE put together by hand from
ML-KEM-768, X25519, SHA-3, HMAC and AES-GCM. Believes what it reads; checks nothing but signatures
and tags. As a program it writes the committed batch (data/ORIGIN.md).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cwt import COSE, COSEKey
from cwt.cose_key_interface import COSEKeyInterface

LABEL = "brski seed batch v1"
SUITE_ID = b"HPKE" + bytes.fromhex("647a00010002")
COSE_ALGORITHMS = {"secp256r1": (-7, "P-256"), "secp384r1": (-35, "P-384")}


def labeled_extract(salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + SUITE_ID + label + material, "sha256")


def labeled_expand(key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    message = length.to_bytes(2, "big") + b"HPKE-v1" + SUITE_ID + label + info
    assert length <= 32
    return hmac.digest(key, message + b"\x01", "sha256")[:length]


def aead(shared_secret: bytes, info: bytes) -> tuple[AESGCM, bytes]:
    """RFC 9180 §5.1, base mode: the cipher and its first nonce."""
    context = b"\x00" + labeled_extract(b"", b"psk_id_hash", b"")
    context += labeled_extract(b"", b"info_hash", info)
    secret = labeled_extract(shared_secret, b"secret", b"")
    key = labeled_expand(secret, b"key", context, 32)
    return AESGCM(key), labeled_expand(secret, b"base_nonce", context, 12)


def combine(mlkem: bytes, x25519: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    label = bytes.fromhex("5c2e2f2f5e5c")
    return hashlib.sha3_256(mlkem + x25519 + ephemeral + recipient + label).digest()


def hpke_seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    mlkem_secret, mlkem_ciphertext = MLKEM768PublicKey.from_public_bytes(
        public[:1184]
    ).encapsulate()
    ephemeral = X25519PrivateKey.generate()
    sent = ephemeral.public_key().public_bytes_raw()
    x25519_secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(public[1184:]))
    cipher, nonce = aead(combine(mlkem_secret, x25519_secret, sent, public[1184:]), info)
    return mlkem_ciphertext + sent + cipher.encrypt(nonce, plaintext, b"")


def hpke_open(private: bytes, sealed: bytes, info: bytes) -> bytes:
    mlkem_ciphertext, sent, ciphertext = sealed[:1088], sealed[1088:1120], sealed[1120:]
    mlkem_secret = MLKEM768PrivateKey.from_seed_bytes(private[:64]).decapsulate(mlkem_ciphertext)
    own = X25519PrivateKey.from_private_bytes(private[64:])
    x25519_secret = own.exchange(X25519PublicKey.from_public_bytes(sent))
    recipient = own.public_key().public_bytes_raw()
    cipher, nonce = aead(combine(mlkem_secret, x25519_secret, sent, recipient), info)
    return cipher.decrypt(nonce, ciphertext, b"")


def public_of(private: bytes) -> bytes:
    mlkem = MLKEM768PrivateKey.from_seed_bytes(private[:64]).public_key()
    x25519 = X25519PrivateKey.from_private_bytes(private[64:]).public_key()
    return mlkem.public_bytes_raw() + x25519.public_bytes_raw()


def chunk_info(header: bytes, index: int, chunks: int, records: int) -> bytes:
    numbers = b"".join(number.to_bytes(4, "big") for number in (index, chunks, records))
    return b"brski seed chunk v1" + hashlib.sha256(header).digest() + numbers


def cose_key(key: Any) -> COSEKeyInterface:
    """cwt's key for an ECDSA or Ed25519 key of cryptography's, private or public."""
    name = getattr(getattr(key, "curve", None), "name", "ed25519")
    is_private = hasattr(key, "private_bytes")
    public = key.public_key() if is_private else key
    if name == "ed25519":
        members: dict[Any, Any] = {1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()}
        if is_private:
            members[-4] = key.private_bytes_raw()
        return COSEKey.new(members)
    algorithm, _ = COSE_ALGORITHMS[name]
    size = (key.curve.key_size + 7) // 8
    numbers = public.public_numbers()
    members = {1: 2, 3: algorithm, -1: {256: 1, 384: 2}[key.curve.key_size]}
    members |= {-2: numbers.x.to_bytes(size, "big"), -3: numbers.y.to_bytes(size, "big")}
    if is_private:
        members[-4] = key.private_numbers().private_value.to_bytes(size, "big")
    return COSEKey.new(members)


def sizes(records: int, chunks: int) -> list[int]:
    return [records // chunks + (index < records % chunks) for index in range(chunks)]


def write(
    header: dict[str, Any], records: list[list[bytes]], public: bytes, vendor_key: Any
) -> bytes:
    """A whole batch file, of records [chip id, seed]."""
    octets = cbor2.dumps(header, canonical=True)
    sealed, left = [], list(records)
    for index, size in enumerate(sizes(header["records"], header["chunks"])):
        info = chunk_info(octets, index, header["chunks"], size)
        sealed.append(hpke_seal(public, cbor2.dumps(left[:size]), info))
        del left[:size]
    payload = cbor2.dumps([octets, [hashlib.sha256(chunk).digest() for chunk in sealed]])
    key = cose_key(vendor_key)
    manifest = COSE.new(alg_auto_inclusion=True).encode_and_sign(
        payload, key, external_aad=LABEL.encode()
    )
    return b"".join(map(cbor2.dumps, [LABEL, manifest, *sealed]))


def read(
    file: bytes, private: bytes, vendor_key: Any
) -> tuple[dict[str, Any], list[list[list[bytes]]]]:
    """Header and the records of each chunk, of a batch that is believed to be sound."""
    stream = BytesIO(file)
    items = []
    while stream.tell() < len(file):
        items.append(cbor2.load(stream))
    label, manifest, *sealed = items
    assert label == LABEL
    payload = COSE.new().decode(manifest, cose_key(vendor_key), external_aad=LABEL.encode())
    octets, digests = cbor2.loads(payload)
    assert [hashlib.sha256(chunk).digest() for chunk in sealed] == digests
    header = cbor2.loads(octets)
    chunks = []
    for index, size in enumerate(sizes(header["records"], header["chunks"])):
        info = chunk_info(octets, index, header["chunks"], size)
        chunks.append(cbor2.loads(hpke_open(private, sealed[index], info)))
    return header, chunks


def main(folder: Path) -> None:
    """Write the committed batch; its keys and seeds are no secrets."""
    private = hashlib.shake_256(b"recipient of the committed batch").digest(96)
    vendor_key = ec.derive_private_key(
        int.from_bytes(hashlib.sha256(b"vendor of the committed batch").digest()), ec.SECP256R1()
    )
    spki = vendor_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    records = [
        [b"CHIP-%d" % number, hashlib.sha512(b"seed %d" % number).digest()[: 32 + 8 * number]]
        for number in range(5)
    ]
    header: dict[str, Any] = {
        "version": 1,
        "hpke": [0x647A, 1, 2],
        "vendor": "example-silicon",
        "vendor-key": hashlib.sha256(spki).digest(),
        "product": "Example 1000",
        "batch": "2025/0042",
        "sequence": 2,
        "predecessor": hashlib.sha256(b"the batch before").digest(),
        "profile": "hmac-drbg-p256",
        "records": len(records),
        "chunks": 2,
        "created": 1748779200,
        "recipient": hashlib.sha256(public_of(private)).digest(),
    }
    file = write(header, records, public_of(private), vendor_key)
    folder.joinpath("batch_v1.cborseq").write_bytes(file)
    description = {
        "recipient_private": private.hex(),
        "recipient_key_id": header["recipient"].hex(),
        "vendor_spki": spki.hex(),
        "vendor_private": f"{vendor_key.private_numbers().private_value:064x}",
        "records": [[chip_id.hex(), seed.hex()] for chip_id, seed in records],
    }
    folder.joinpath("batch_v1.json").write_text(json.dumps(description, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
