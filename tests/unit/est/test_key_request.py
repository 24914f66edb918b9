"""A CSR as serverkeygen reads it, and the keys that a package can be enveloped for."""

from __future__ import annotations

import pytest

from brski import registry
from brski.errors import CSRMismatch, KeyNotAllowed, Malformed, PeerError, SignatureInvalid
from brski.est.csr import parse_csr, parse_unproven
from brski.est.key_package import Randomness, check_recipient
from brski.est.key_request import Protection, parse_key_request
from brski.est.transfer import MULTIPART, encode_parts
from brski.pki import der
from tests.kit import est, pki

CAPABLE = est.attribute(
    registry.ID_SMIME_CAPABILITIES,
    der.encode(
        der.SEQUENCE,
        der.encode(der.SEQUENCE, der.encode_oid("1.2.3"), der.encode_integer(128)),
        der.encode(der.SEQUENCE, der.encode_oid(registry.AES128_CBC)),
        der.encode(der.SEQUENCE, der.encode_oid(registry.AES256_CBC)),
    ),
)
NAMED = est.attribute(
    registry.ID_AA_ASYMM_DECRYPT_KEY_ID, der.encode(der.OCTET_STRING, bytes(range(20)))
)


def csr(*attributes: bytes, spoilt: bool = False, **parts: bytes) -> bytes:
    made = est.raw_csr(pki.make_key(), attributes=sorted(attributes), **parts)  # type: ignore[arg-type]  # its parts
    return made[:-1] + bytes([made[-1] ^ 1]) if spoilt else made


@pytest.mark.requirement("ESTS-18")
def test_key_and_signature_do_not_count() -> None:
    """A request whose own key is proven offers it for encryption; one that is not, does not."""
    assert parse_key_request(csr()).own_key is not None
    with pytest.raises(SignatureInvalid):
        parse_csr(spoilt := csr(spoilt=True))
    assert parse_key_request(spoilt).own_key is None
    kind = der.encode(der.SEQUENCE, der.encode_oid("1.2.3"))
    nonsense = der.encode(der.SEQUENCE, kind, der.encode(der.BIT_STRING, b"\x00abc"))
    assert parse_key_request(csr(spki=nonsense)).own_key is None


@pytest.mark.requirement("ESTS-7")
def test_everywhere_else_they_do() -> None:
    """What is read without its key and signature is another type than a CSR."""
    unproven = parse_unproven(csr(spoilt=True))
    assert not hasattr(unproven, "public_key")


def test_of_the_ciphers_the_first_of_ours_is_taken() -> None:
    """Whatever the client's order; what is not known is passed over."""
    found = parse_key_request(csr(CAPABLE, NAMED))
    assert found.protection == Protection(
        key_identifier=bytes(range(20)), cipher=registry.AES256_CBC
    )
    assert parse_key_request(csr(CAPABLE)).protection is None


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ([NAMED], CSRMismatch),
        ([est.attribute(registry.ID_AA_DECRYPT_KEY_ID, b"\x04\x01a"), CAPABLE], CSRMismatch),
        ([est.attribute(registry.ID_AA_ASYMM_DECRYPT_KEY_ID, b"\x0c\x01a"), CAPABLE], Malformed),
        ([NAMED, est.attribute(registry.ID_SMIME_CAPABILITIES, b"\x30\x00")], Malformed),
        ([NAMED, est.attribute(registry.ID_SMIME_CAPABILITIES, b"\x30\x02\x30\x00")], Malformed),
        ([NAMED, est.attribute(registry.ID_SMIME_CAPABILITIES, b"\x02\x01\x01")], Malformed),
    ],
)
def test_a_wish_that_cannot_be_read_ends_the_request(
    attributes: list[bytes], error: type[PeerError]
) -> None:
    """It is never taken for none: then the key would travel in the clear."""
    with pytest.raises(error):
        parse_key_request(csr(*attributes))


def test_truncated_anywhere_it_is_refused() -> None:
    """As every parser of strangers' octets."""
    whole = csr(CAPABLE, NAMED)
    for length in range(len(whole)):
        with pytest.raises(PeerError):
            parse_key_request(whole[:length])


@pytest.mark.parametrize("kind", ["Ed25519", "ML-DSA-65"])
def test_a_key_that_only_signs_is_no_recipient(kind: str) -> None:
    """RSA and the two curves are."""
    with pytest.raises(KeyNotAllowed):
        check_recipient(pki.make_key(kind).public_key())
    for other in ("P-256", "P-384", "RSA-2048"):
        check_recipient(pki.make_key(other).public_key())


def test_the_key_of_an_envelope_does_not_show() -> None:
    """Not in a log line by accident."""
    drawn = Randomness(content_key=b"\xaa" * 32, nonce=bytes(12), ephemeral=None)
    assert "\\xaa" not in repr(drawn)


def test_a_multipart_body_is_what_mime_wants() -> None:
    """Boundary, head, empty line, text, and the boundary with its two hyphens at the end."""
    boundary = MULTIPART.partition("boundary=")[2]
    body = encode_parts([("application/pkcs8", b"MA==\n")]).decode()
    assert body == (
        f"--{boundary}\r\nContent-Type: application/pkcs8\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\nMA==\n\r\n--{boundary}--\r\n"
    )
