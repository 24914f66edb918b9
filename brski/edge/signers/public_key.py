"""Public keys of others that settings name by file: a factory's, a vendor's, a manufacturer's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from brski.edge.atomic_file import read_file
from brski.errors import KeyUnusable, PeerError
from brski.pki import keys
from brski.pki.signer import PublicKey

_FILE_LIMIT: Final = 64 * 1024
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"


def load_public_key(path: Path) -> PublicKey:
    """Read a public key, or the key of a certificate; of a chain the first counts.

    Args:
        path: PEM: ``PUBLIC KEY`` (SubjectPublicKeyInfo) or ``CERTIFICATE``. A certificate is only
            a wrapping here: its dates and signature are not looked at.

    Raises:
        KeyUnusable: neither, or a key that is not of an accepted kind.
        FileUnusable: missing or not permitted.

    RFC 7468 §5, §13.
    """
    pem = read_file(path, max_octets=_FILE_LIMIT)
    try:
        if _CERTIFICATE in pem:
            return keys.public_key_of_certificate(keys.parse_pem_certificates(pem)[0])
        spki = load_pem_public_key(pem).public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return keys.load_spki(spki)
    except (ValueError, PeerError) as err:
        said = err.reason if isinstance(err, PeerError) else "neither PUBLIC KEY nor CERTIFICATE"
        raise KeyUnusable(f"{path}: {said}") from err
