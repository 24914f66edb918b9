"""What a signer signs: three shapes of data that an onboarding needs, and nothing else.

A decision: data in, nothing or a refusal out. Each shape has a first octet of its own, so what is
signed as one can never be read as another, nor as a certificate or a CSR (30), a COSE structure
(84) or text. docs/tee.md has them as a table.
"""

from __future__ import annotations

from typing import Final

from brski.errors import NotSignedHere, PeerError
from brski.voucher.signed_data import read_own_attributes

_TLS13: Final = b"\x20" * 64 + b"TLS 1.3, client CertificateVerify\x00"
_HASH_OCTETS: Final = (32, 48)
_SECTION: Final = "docs/tee.md"

# RFC 5246 §7.4: the messages before a client's CertificateVerify
_CERTIFICATE: Final = 11
_HANDSHAKE: Final = (1, 2, _CERTIFICATE, 12, 13, 14, _CERTIFICATE, 16)


def check_may_be_signed(data: bytes, *, certificate_der: bytes, digest_octets: int) -> None:
    """Raise unless *data* is what an onboarding of this device has signed.

    Args:
        data: whole.
        certificate_der: what the device shows first in TLS.
        digest_octets: of the digest that goes with the key.

    Raises:
        NotSignedHere: it is something else.

    RFC 8446 §4.4.3; RFC 5246 §7.4.8; RFC 5652 §5.4.
    """
    match data[:1]:
        case b"\x20":
            _check_tls13(data)
        case b"\x01":
            _check_tls12(data, certificate_der)
        case b"\x31":
            _check_voucher_request(data, digest_octets)
        case _:
            raise _refused("nothing that an onboarding signs")


def _check_tls13(data: bytes) -> None:
    if not data.startswith(_TLS13) or len(data) - len(_TLS13) not in _HASH_OCTETS:
        raise _refused("not the context of a client's CertificateVerify")


def _check_tls12(data: bytes, certificate_der: bytes) -> None:
    messages = _messages_of(data)
    if tuple(kind for kind, _ in messages) != _HANDSHAKE:
        raise _refused("not a handshake before a client's CertificateVerify")
    _, own = messages[6]
    # after the length of the list, three octets: its first certificate, with a length of its own
    if not own[3:].startswith(len(certificate_der).to_bytes(3, "big") + certificate_der):
        raise _refused("a handshake with another client's certificate")


def _messages_of(data: bytes) -> list[tuple[int, bytes]]:
    """The handshake's messages, type and body; RFC 5246 §7.4."""
    messages: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data) and len(messages) <= len(_HANDSHAKE):
        end = at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if end > len(data):
            raise _refused("a handshake that is cut")
        messages.append((data[at], data[at + 4 : end]))
        at = end
    return messages


def _check_voucher_request(data: bytes, digest_octets: int) -> None:
    try:
        digest = read_own_attributes(data).message_digest
    except PeerError as err:
        raise _refused(f"no attributes of a voucher-request: {err.reason}") from err
    if len(digest) != digest_octets:
        raise _refused("a digest of another algorithm")


def _refused(reason: str) -> NotSignedHere:
    return NotSignedHere(reason, section=_SECTION)
