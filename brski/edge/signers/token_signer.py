"""The signer whose private key is in a PKCS#11 token (docs/oem-pki.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from brski.edge.settings import ExistingFile, Settings
from brski.edge.signers.file import load_chain
from brski.edge.signers.pkcs11 import ALGORITHMS, Token, TokenAddress
from brski.errors import KeyUnusable, SettingsError, SignatureInvalid, StateError
from brski.pki import signatures
from brski.pki.keys import public_key_of_certificate
from brski.pki.signer import PublicKey

PROBE: Final = b"brski token probe v1"  # no DER of anything that is signed in earnest


class TokenSigner:
    """Implements :class:`brski.pki.signer.Signer`; ECDSA nonces are the token's.

    Args:
        token: open for as long as the signer is used.
        label: of the one private key.
        chain: the key's certificate first; without one, the token must have the public key, too.

    Raises:
        KeyUnusable: no such key or several, a key of another kind than the certificate's, or
            another key.
        Unavailable: the token is gone.
    """

    def __init__(self, token: Token, label: str, chain: Iterable[x509.Certificate] = ()) -> None:
        self._token = token
        self._label = label
        self._chain = tuple(chain)
        self._key, self._algorithm = token.private_key(label)
        self._public_key = (
            public_key_of_certificate(self._chain[0]) if self._chain else token.public_key(label)
        )
        self._check_key()

    @property
    def public_key(self) -> PublicKey:
        """The key's public half."""
        return self._public_key

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """As given, leaf first."""
        return self._chain

    def sign(self, data: bytes) -> bytes:
        """Sign *data*, whole, inside the token.

        Returns:
            As :meth:`brski.pki.signer.Signer.sign`.

        Raises:
            KeyUnusable: the token does not sign with this key.
            Unavailable: the token is gone.
        """
        if self._algorithm == "Ed25519":
            return self._token.sign(self._key, data, self._algorithm)
        digest = hashlib.new(signatures.digest_algorithm(self._public_key)[1], data).digest()
        raw = self._token.sign(self._key, digest, self._algorithm)
        r, s = raw[: len(raw) // 2], raw[len(raw) // 2 :]
        return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))

    def _check_key(self) -> None:
        name = f"{self._token.name}: key {self._label!r}"
        if self._algorithm != _algorithm(self._public_key):
            raise KeyUnusable(f"{name} is {self._algorithm}, its certificate's is of another kind")
        try:
            signatures.verify(self._public_key, self.sign(PROBE), PROBE, what="probe")
        except SignatureInvalid as err:
            raise KeyUnusable(f"{name} is not the key of its certificate") from err

    def __repr__(self) -> str:
        return f"<TokenSigner {self._label!r}>"


class TokenSignerSettings(Settings):
    """The table of a signer of kind ``pkcs11``."""

    kind: str
    chain: ExistingFile  # PEM, the key's certificate first
    module: ExistingFile  # shared library
    token: str  # its label
    label: str  # of the private key
    pin_file: ExistingFile  # 0600


class TokenSignerKind:
    """Entry point ``pkcs11`` of ``brski.signer``."""

    Settings = TokenSignerSettings

    @classmethod
    def open(cls, settings: TokenSignerSettings) -> TokenSigner:
        """Open the token; the session lasts as long as the process."""
        address = TokenAddress(
            module=settings.module, token=settings.token, pin_file=settings.pin_file
        )
        return TokenSigner(Token(address), settings.label, load_chain(settings.chain))


class TokenKeysSettings(Settings):
    """The table of :class:`TokenKeys`."""

    kind: str
    module: ExistingFile
    token: str
    pin_file: ExistingFile


class TokenKeys:
    """Keys that are made in a token, by name; entry point ``pkcs11`` of ``brski.signing_keys``.

    The session lasts as long as the process.
    """

    Settings = TokenKeysSettings

    def __init__(self, token: Token) -> None:
        self._token = token

    @classmethod
    def open(cls, settings: TokenKeysSettings) -> TokenKeys:
        """Open the token for writing."""
        address = TokenAddress(
            module=settings.module, token=settings.token, pin_file=settings.pin_file
        )
        return cls(Token(address, writable=True))

    def check_free(self, names: Iterable[str]) -> None:
        """Raise if the token has a key of one of *names*.

        Raises:
            StateError: it has.
            Unavailable: the token is gone.
        """
        for name in names:
            if self._token.has_key(name):
                raise StateError(f"{self._token.name} has a key {name!r} already")

    def make(self, name: str, algorithm: str) -> TokenSigner:
        """A new key pair called *name*, sensitive and not extractable.

        Args:
            algorithm: ``P-256``, ``P-384`` or ``Ed25519``.

        Raises:
            SettingsError: another algorithm.
            StateError, KeyUnusable, Unavailable: as :meth:`Token.make_key_pair`.
        """
        if algorithm not in ALGORITHMS:
            raise SettingsError(
                f"no token makes a key for {algorithm}", hint=f"use {', '.join(ALGORITHMS)}"
            )
        self._token.make_key_pair(name, algorithm)
        return TokenSigner(self._token, name)


def _algorithm(key: PublicKey) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": "P-256", "secp384r1": "P-384"}[key.curve.name]
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else type(key).__name__
