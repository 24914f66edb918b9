"""The OEM's PKI is made: two or three levels, keys in files or in a token (docs/oem-pki.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from brski.edge.signers.file import write_chain, write_private_key
from brski.edge.signers.key import KeySigner
from brski.errors import StateError
from brski.idevid.ca_certificate import CERT_SERIAL_OCTETS, build_ca_certificate
from brski.pki.signatures import PrivateKey
from brski.pki.signer import Signer

ROOT: Final = "root"
ISSUING: Final = "issuing"

_MAKERS: Final[dict[str, Callable[[], PrivateKey]]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate,
}
ALGORITHMS: Final = tuple(_MAKERS)


class KeyPlace(Protocol):
    """Where CA keys are made and stay."""

    def check_free(self, names: Iterable[str]) -> None:
        """Raise StateError if there is a key of one of *names*."""

    def make(self, name: str, algorithm: str) -> Signer:
        """A new key called *name*, durably kept; its chain is empty.

        Raises:
            StateError: there is one of this name.
            SettingsError, KeyUnusable: not of this algorithm.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles:
    """A folder: ``NAME.key``, PEM, mode 0600."""

    folder: Path

    def check_free(self, names: Iterable[str]) -> None:
        """See :meth:`KeyPlace.check_free`."""
        for path in (self.folder / f"{name}.key" for name in names):
            if path.exists():
                raise StateError(f"{path} exists")

    def make(self, name: str, algorithm: str) -> Signer:
        """See :meth:`KeyPlace.make`."""
        key = _MAKERS[algorithm]()
        write_private_key(self.folder / f"{name}.key", key)
        return KeySigner(key, deterministic=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CAChoice:
    """What kind of PKI it shall be."""

    title: str  # of the OEM, in its CAs' names
    levels: int  # 2: the root issues devices; 3: a CA below it does
    algorithm: str  # of all CAs: one of ALGORITHMS
    created_at: datetime  # notBefore of the CAs; aware UTC, whole seconds


def found_pki(
    folder: Path, choice: CAChoice, keys: KeyPlace, random: Callable[[int], bytes]
) -> tuple[x509.Certificate, ...]:
    """Make the CAs' keys and certificates.

    Args:
        folder: gets ``issuing-chain.pem`` and ``root.pem``; in a PKI of two levels the root's key
            is called ``issuing``, since it is.
        random: gives so many octets, for the certificates' serial numbers.

    Returns:
        The issuing certificate first, the root last.

    Raises:
        StateError, KeyUnusable, Unavailable: a key cannot be made, or does not sign.
    """
    names = (ISSUING,) if choice.levels == 2 else (ROOT, ISSUING)
    keys.check_free(names)
    root_key = keys.make(names[0], choice.algorithm)
    root = build_ca_certificate(
        f"{choice.title} Root CA",
        root_key.public_key,
        root_key,
        path_length=choice.levels - 2,
        created_at=choice.created_at,
        cert_serial=random(CERT_SERIAL_OCTETS),
    )
    chain: tuple[x509.Certificate, ...] = (root,)
    if choice.levels == 3:
        issuing_key = keys.make(ISSUING, choice.algorithm)
        issuing = build_ca_certificate(
            f"{choice.title} Issuing CA",
            issuing_key.public_key,
            root_key,
            issuer=root,
            path_length=0,
            created_at=choice.created_at,
            cert_serial=random(CERT_SERIAL_OCTETS),
        )
        chain = (issuing, root)
    write_chain(folder / "issuing-chain.pem", chain)
    write_chain(folder / "root.pem", chain[-1:])
    return chain
