"""Fixed keys, and the envelopes that let a fuzzer reach what a signature would keep from it.

Most of what is parsed is signed, so an altered octet ends at the signature. Each target therefore
looks at its input twice: as the whole message, and as what is inside, signed here under a key that
anybody can guess.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import BinaryIO, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from brski.errors import Malformed
from brski.pki import cbor, cose, der
from brski.pki.signatures import signature_algorithm
from brski.pki.signer import PublicKey
from brski.seed.recipient_key import HybridPrivateKey
from brski.voucher import signed_data
from brski.voucher.signed_data import SignedData
from tests.kit import pki

CREATED: Final = pki.NOW
OWNER: Final = "Example Owner"


def _key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


ROOT: Final = pki.make_root("Example OEM Root CA", key=_key(11), not_after=pki.NEVER)
ISSUING: Final = pki.make_ca("Example OEM Issuing CA", ROOT, key=_key(12), not_after=pki.NEVER)
DEVICE: Final = pki.make_idevid(ISSUING, key=_key(13))
DOMAIN: Final = pki.make_root("Example Owner CA", key=_key(14))
REGISTRAR: Final = pki.make_registrar(DOMAIN, key=_key(15))
MASA: Final = pki.make_masa_signer(ROOT, key=_key(16))

FILE_SIGNER: Final = pki.KeySigner(ed25519.Ed25519PrivateKey.from_private_bytes(b"\x21" * 32))
FILE_SIGNERS: Final[Mapping[str, PublicKey]] = {"signer-1": FILE_SIGNER.public_key}
CMS_VENDOR: Final = pki.KeySigner(_key(17))
RECIPIENT: Final = HybridPrivateKey(hashlib.shake_256(b"fuzzed recipient").digest(96))


def split(data: bytes) -> tuple[bytes, bytes]:
    """Two parts: two octets say how long the first one is."""
    length = int.from_bytes(data[:2], "big")
    return data[2 : 2 + length], data[2 + length :]


def joined(first: bytes, second: bytes) -> bytes:
    """What :func:`split` takes apart."""
    return len(first).to_bytes(2, "big") + first + second


def signed_file(label: str, header: bytes, chunk: bytes) -> bytes:
    """A file of signed chunks with one chunk, whatever the two are."""
    payload = cbor.encode([header, [hashlib.sha256(chunk).digest()]])
    manifest = cose.sign1(payload, FILE_SIGNER, external_aad=label.encode("ascii"))
    return cbor.encode(label) + cbor.encode(manifest) + cbor.encode(chunk)


def parts_of(file: bytes) -> bytes:
    """Header and first chunk of a file of signed chunks, as :func:`split` wants them."""
    label_end = 1 + file[0] % 32 if file[0] < 0x78 else 2 + file[1]
    stream = io.BytesIO(file[label_end:])
    manifest, chunk = (_byte_string(stream) for _ in range(2))
    payload = cbor.decode(cose.unverified_payload(manifest))
    assert isinstance(payload, list)
    header = payload[0]
    assert isinstance(header, bytes)
    return joined(header, chunk)


def _byte_string(stream: BinaryIO) -> bytes:
    head = stream.read(1)[0]
    size = {0x58: 1, 0x59: 2, 0x5A: 4}.get(head)
    length = head - 0x40 if size is None else int.from_bytes(stream.read(size), "big")
    return stream.read(length)


def signed_by_the_device(attributes: bytes, payload: bytes) -> bytes:
    """A CMS message with these signed attributes, under the device's key."""
    parts = SignedData(
        content_type=signed_data.JSON_VOUCHER,
        payload=payload,
        certificates=(),
        signer_id=signed_data.issuer_and_serial(DEVICE.der),
        digest=der.encode_oid("2.16.840.1.101.3.4.2.1"),
        attributes=attributes,
        signature_algorithm=signature_algorithm(DEVICE.signer.public_key),
    )
    return signed_data.encode_message(parts, DEVICE.signer.sign(parts.to_be_signed))


def certified(tbs: bytes) -> bytes:
    """A certificate, or a request, whose contents are *tbs*, signed by the OEM's issuing key."""
    signature = ISSUING.signer.sign(tbs)
    algorithm = signature_algorithm(ISSUING.signer.public_key)
    return der.encode(der.SEQUENCE, tbs, algorithm, der.encode(der.BIT_STRING, b"\x00" + signature))


def request_of(info: bytes) -> bytes:
    """A certificate request whose contents are *info*, signed by the device's key."""
    signature = DEVICE.signer.sign(info)
    algorithm = signature_algorithm(DEVICE.signer.public_key)
    return der.encode(
        der.SEQUENCE, info, algorithm, der.encode(der.BIT_STRING, b"\x00" + signature)
    )


def first_child(octets: bytes) -> bytes:
    """The first element inside a DER SEQUENCE, such as a certificate's contents."""
    return der.octets_of(octets, der.read_element(octets, der.read_element(octets).content))


def elements(octets: bytes, most: int = 12) -> list[bytes]:
    """DER elements that stand one after the other, for as long as they can be read."""
    found: list[bytes] = []
    rest = octets
    while len(rest) > 1 and len(found) < most:
        try:
            element = der.read_element(rest)
        except Malformed:
            break
        found.append(der.octets_of(rest, element))
        rest = rest[element.end :]
    return found or [octets]


def recoded(octets: bytes) -> bytes:
    """DER taken apart down to its primitives and written again: one encoding, or none."""
    element = der.read_element(octets)
    content = der.content_of(octets, element)
    if octets[element.start] & 0x20:
        inner = der.children(octets, element)
        content = b"".join(recoded(der.octets_of(octets, child)) for child in inner)
    if octets[element.start] & 0x1F == 0x1F:
        return octets  # tag numbers from 31 on: nothing of ours writes them
    return der.encode(octets[element.start], content)
