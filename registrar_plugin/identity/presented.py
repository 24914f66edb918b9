"""What the other end of a TLS connection shows: read, bounded, and not believed but for its key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from brski.errors import Malformed, NotAuthenticated, TooLarge
from brski.pki.keys import certificate_der, load_spki, parse_certificate, spki_of
from brski.pki.names import device_serial_number
from brski.pki.signer import PublicKey
from brski.registry import CERTIFICATES_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A client's certificates as sent; the handshake proved possession of *public_key*, no more."""

    chain: tuple[x509.Certificate, ...]  # leaf first
    spki: bytes  # the leaf's, cut from its DER
    public_key: PublicKey


def parse_presented(peer_chain: Sequence[bytes] | Sequence[x509.Certificate]) -> Presented:
    """Read the chain that a TLS client sent.

    Args:
        peer_chain: leaf first; DER, or certificates as a TLS library made them (then read anew,
            strictly).

    Raises:
        NotAuthenticated: it is empty.
        TooLarge: more than 8 certificates, or one of more than 32 kB.
        Malformed: one is not a certificate.
        KeyNotAllowed: the leaf's key: kind, size, curve or point form.
    """
    if not peer_chain:
        raise NotAuthenticated("the client showed no certificate", section="RFC 8995 §5.1")
    if len(peer_chain) > CERTIFICATES_LIMIT:
        raise TooLarge(
            f"the client showed {len(peer_chain)} certificates, {CERTIFICATES_LIMIT} are accepted"
        )
    chain = tuple(parse_certificate(_der(certificate)) for certificate in peer_chain)
    spki = spki_of(chain[0])
    return Presented(chain=chain, spki=spki, public_key=load_spki(spki))


def claimed_serial_number(peer_chain: Sequence[bytes] | Sequence[x509.Certificate]) -> str:
    """The serial number that a client's leaf names, for a journal; never for a decision.

    Args:
        peer_chain: as for :func:`parse_presented`.

    Returns:
        It, out of the allow-list of :mod:`brski.pki.names`; empty when there is none such.
    """
    try:
        return device_serial_number(parse_certificate(_der(peer_chain[0])))
    except (IndexError, Malformed, TooLarge):
        return ""


def _der(certificate: bytes | x509.Certificate) -> bytes:
    return certificate if isinstance(certificate, bytes) else certificate_der(certificate)
