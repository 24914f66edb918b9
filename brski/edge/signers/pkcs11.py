"""A PKCS#11 token: keys are made in it, used in it, and stay (docs/oem-pki.md).

The only module that speaks to python-pkcs11 (extra ``[pkcs11]``). What the token says is told in
our errors: :class:`~brski.errors.KeyUnusable` for what a person must put right,
:class:`~brski.errors.Unavailable` for a token that may come back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11 import exceptions as said

from brski.edge.atomic_file import read_file
from brski.edge.signers.file import check_private_mode
from brski.errors import KeyUnusable, OnboardingError, StateError, Unavailable
from brski.pki import der
from brski.pki.signer import PublicKey

_LIBCRYPTO: Final = "libcrypto.so.3"
_PIN_OCTETS: Final = 256
_OBJECT: Final = {
    "private": ObjectClass.PRIVATE_KEY,
    "public": ObjectClass.PUBLIC_KEY,
    "secret": ObjectClass.SECRET_KEY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    key_type: KeyType
    parameters: tuple[bytes, ...]  # EC_PARAMS: the first is written, all are read
    generator: Mechanism


_KINDS: Final = {
    "P-256": _Kind(
        key_type=KeyType.EC,
        parameters=(der.encode_oid("1.2.840.10045.3.1.7"),),
        generator=Mechanism.EC_KEY_PAIR_GEN,
    ),
    "P-384": _Kind(
        key_type=KeyType.EC,
        parameters=(der.encode_oid("1.3.132.0.34"),),
        generator=Mechanism.EC_KEY_PAIR_GEN,
    ),
    "Ed25519": _Kind(  # PKCS#11 v3.0 §2.3.10: a name, or an object identifier
        key_type=KeyType.EC_EDWARDS,
        parameters=(b"\x13\x0cedwards25519", der.encode_oid("1.3.101.112")),
        generator=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
    ),
}
ALGORITHMS: Final = tuple(_KINDS)

# By what would help. Whatever else a token says, it does not do this with this key.
_WRONG_PIN: Final = (said.PinIncorrect, said.PinInvalid, said.PinLenRange)
_GONE: Final = (
    *(said.NoSuchToken, said.TokenNotPresent, said.DeviceRemoved, said.DeviceError),
    *(said.DeviceMemory, said.HostMemory, said.SessionClosed, said.SessionCount),
    *(said.SessionHandleInvalid, said.ObjectHandleInvalid, said.KeyHandleInvalid),
    *(said.UserNotLoggedIn, said.SlotIDInvalid, said.GeneralError, said.FunctionFailed),
)
_REASONS: Final[dict[type[said.PKCS11Error], str]] = {
    said.PinLocked: "its PIN is locked",
    said.PinExpired: "its PIN has expired",
    said.UserPinNotInitialized: "its PIN was never set",
    said.MultipleTokensReturned: "there are several tokens of this label",
    said.NoSuchKey: "there is no such key",
    said.MultipleObjectsReturned: "there are several such keys",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAddress:
    """Where a token is, and the file with its PIN."""

    module: Path  # the shared library that speaks PKCS#11
    token: str  # its label
    pin_file: Path  # 0600; one trailing newline is not part of the PIN


class Token:
    """An open session with a token, logged in; close it, or use it as a context manager.

    Args:
        writable: keys will be made.

    Raises:
        KeyUnusable: the PIN file or PIN, the module, or a token's label that is not unique.
        Unavailable: there is no such token now.
    """

    def __init__(self, address: TokenAddress, *, writable: bool = False) -> None:
        self.name: Final = f"token {address.token!r}"
        pin = _read_pin(address.pin_file)
        library = _library(address.module)
        with self._translated(f"PIN in {address.pin_file}"):
            token = library.get_token(token_label=address.token)
            try:
                self._session = token.open(rw=writable, user_pin=pin)
            except said.UserAlreadyLoggedIn:  # a login is the whole process's (PKCS#11 §5.6.8)
                self._session = token.open(rw=writable)

    def __enter__(self) -> Token:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session; a token that is gone has ended it already."""
        try:
            self._session.close()
        except said.PKCS11Error:
            return

    # -- finding

    def has_key(self, label: str) -> bool:
        """Whether the token has any object of this label.

        Raises:
            Unavailable: the token is gone.
        """
        with self._translated(f"key {label!r}"):
            return bool(self._all_of({Attribute.LABEL: label}))

    def private_key(self, label: str) -> tuple[object, str]:
        """The one private key called *label*, as the token's handle, and its algorithm.

        Raises:
            KeyUnusable: there is none, or several, or of no kind that we sign with.
            Unavailable: the token is gone.
        """
        key = self._find("private", label)
        return key, self._algorithm(key, label)

    def public_key(self, label: str) -> PublicKey:
        """The one public key called *label*.

        Raises:
            KeyUnusable, Unavailable: as :meth:`private_key`.
        """
        key = self._find("public", label)
        algorithm = self._algorithm(key, label)
        with self._translated(f"key {label!r}"):
            point = bytes(key[Attribute.EC_POINT])
        octets = der.content_of(point, der.read_element(point))
        if algorithm == "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(octets)
        curve = ec.SECP256R1() if algorithm == "P-256" else ec.SECP384R1()
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, octets)

    def _find(self, what: str, label: str) -> Any:
        with self._translated(f"{what} key {label!r}"):
            found = self._all_of({Attribute.CLASS: _OBJECT[what], Attribute.LABEL: label})
            if not found:
                raise said.NoSuchKey
            if len(found) > 1:
                raise said.MultipleObjectsReturned
            return found[0]

    def _all_of(self, attributes: dict[Attribute, Any]) -> list[Any]:
        # To the end: a search that is left half-way, as get_key leaves one that finds several,
        # stays open on the token's session until it is collected, be that after the session.
        return list(self._session.get_objects(attributes))

    def _algorithm(self, key: Any, label: str) -> str:
        with self._translated(f"key {label!r}"):
            key_type = key[Attribute.KEY_TYPE]
            for name, kind in _KINDS.items():
                if kind.key_type == key_type and bytes(key[Attribute.EC_PARAMS]) in kind.parameters:
                    return name
        raise KeyUnusable(
            f"{self.name}: key {label!r} is of no kind that we sign with",
            hint=f"use {', '.join(ALGORITHMS)}",
        )

    # -- making: sensitive and not extractable

    def make_key_pair(self, label: str, algorithm: str) -> None:
        """Make a key pair; both halves are called *label*.

        Args:
            algorithm: one of :data:`ALGORITHMS`.

        Raises:
            StateError: the token has an object of this label.
            KeyUnusable: it cannot make such a key.
            Unavailable: the token is gone.
        """
        kind = _KINDS[algorithm]
        self._check_free(label)
        with self._translated(f"key {label!r}"):
            parameters = self._session.create_domain_parameters(
                kind.key_type, {Attribute.EC_PARAMS: kind.parameters[0]}, local=True
            )
            parameters.generate_keypair(
                store=True,
                label=label,
                id=label.encode(),
                mechanism=kind.generator,
                private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )

    def make_mac_key(self, label: str) -> None:
        """Make a secret of 256 bits for :meth:`mac`.

        Raises:
            StateError, KeyUnusable, Unavailable: as :meth:`make_key_pair`.
        """
        self._check_free(label)
        with self._translated(f"key {label!r}"):
            self._session.generate_key(
                KeyType.GENERIC_SECRET,
                256,
                store=True,
                label=label,
                capabilities=MechanismFlag.SIGN,
                template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )

    def _check_free(self, label: str) -> None:
        if self.has_key(label):
            raise StateError(f"{self.name} has a key {label!r} already")

    # -- using

    def sign(self, key: Any, data: bytes, algorithm: str) -> bytes:
        """Sign with a handle that :meth:`private_key` gave.

        Args:
            data: for Ed25519 the message; else its digest.

        Returns:
            Raw: for Ed25519 64 octets; else r and s, of the same length.

        Raises:
            KeyUnusable: the token does not sign with this key.
            Unavailable: the token is gone.
        """
        mechanism = Mechanism.EDDSA if algorithm == "Ed25519" else Mechanism.ECDSA
        with self._translated("signing key"):
            return bytes(key.sign(data, mechanism=mechanism))

    def mac(self, label: str, data: bytes) -> bytes:
        """HMAC-SHA-256 of *data* under the one secret called *label*: 32 octets.

        Raises:
            KeyUnusable: no such secret, several, or one that the token does not do this with.
            Unavailable: the token is gone.
        """
        key = self._find("secret", label)
        with self._translated(f"key {label!r}"):
            return bytes(key.sign(data, mechanism=Mechanism.SHA256_HMAC))

    # -- in our terms

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except said.PKCS11Error as err:
            raise self._error(err, what) from err
        finally:
            forget_openssl_errors()

    def _error(self, error: said.PKCS11Error, what: str) -> OnboardingError:
        if isinstance(error, _WRONG_PIN):
            return KeyUnusable(
                f"{self.name} refuses the {what}", hint="it locks after a few wrong ones"
            )
        if isinstance(error, _GONE):
            return Unavailable(
                f"{self.name} is not there, or its session is lost ({type(error).__name__})",
                hint="put the token back and start the command again",
            )
        reason = _REASONS.get(type(error), type(error).__name__)
        return KeyUnusable(f"{self.name}, {what}: {reason}")


def _library(module: Path) -> Any:
    try:
        return pkcs11.lib(str(module))
    except said.PKCS11Error as err:
        raise KeyUnusable(f"{module} cannot be loaded as a PKCS#11 module") from err
    finally:
        forget_openssl_errors()


def forget_openssl_errors() -> None:
    """Empty this thread's queue of OpenSSL errors, which a module may share with :mod:`ssl`.

    SoftHSM leaves "no such engine" there when it is loaded, and the next TLS context would report
    it as its own. Where the system's libcrypto is another, or absent, nothing happens.
    """
    with suppress(OSError, AttributeError):
        ctypes.PyDLL(_LIBCRYPTO).ERR_clear_error()


def _read_pin(path: Path) -> str:
    check_private_mode(path)
    octets = read_file(path, max_octets=_PIN_OCTETS)
    try:
        pin = octets.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as err:
        raise KeyUnusable(f"{path} holds no PIN: it is not UTF-8") from err
    if not pin:
        raise KeyUnusable(f"{path} holds no PIN")
    return pin
