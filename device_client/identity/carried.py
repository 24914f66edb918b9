"""What an IDevID chain must be for the device that carries it."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from brski.errors import KeyUnusable, PeerError
from brski.pki.chain import check_presented_chain
from brski.pki.extensions import idevid_issuer_of
from brski.pki.keys import spki_of
from brski.pki.names import device_serial_number


def check_carried_chain(
    chain: Sequence[x509.Certificate],
    *,
    spki: bytes,
    serial_number: str,
    idevid_issuer: bytes,
) -> None:
    """Raise unless *chain* certifies this device's key under its serial number.

    The device finds out by itself, before a registrar has to.

    Args:
        chain: leaf first.
        spki: SubjectPublicKeyInfo of the device's key, DER.
        serial_number: the device's.
        idevid_issuer: 20-octet keyIdentifier.

    Raises:
        KeyUnusable: another key, serial number or issuer, or a chain that does not hang together.

    802.1AR §8; RFC 8995 §2.3.
    """
    leaf = chain[0]
    if spki_of(leaf) != spki:
        raise KeyUnusable("the IDevID certificate is not for the device's key")
    try:
        found, issuer = device_serial_number(leaf), idevid_issuer_of(leaf)
        check_presented_chain(chain)
    except PeerError as err:
        raise KeyUnusable(f"the IDevID chain is unusable: {err.reason}") from err
    if found != serial_number:
        raise KeyUnusable(f"the IDevID certificate names {found}, the device is {serial_number}")
    if issuer != idevid_issuer:
        raise KeyUnusable(
            f"the IDevID certificate's issuer is {issuer.hex()}, not {idevid_issuer.hex()}"
        )
