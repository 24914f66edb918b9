"""A device whose IDevID key is in another process, the signer of docs/tee.md.

Nothing here can reach a seed. The key's owner is asked anew for each signature, over a connection
of its own, so a signer that was started again is met again.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.errors import KeyUnusable, PeerError, SettingsError, StateError, Unavailable
from brski.idevid.assertion import is_asserted, read_assertion
from brski.pki import signatures
from brski.pki.keys import public_key_of_certificate, spki_of
from brski.pki.signer import PublicKey
from device_client.identity.carried import check_carried_chain
from device_client.identity.facts import Facts, Fields, certificates_of
from device_client.identity.tee import wire
from device_client.identity.tee.peer import owner_of_folder, user_of_peer

PATIENCE_S: Final = 5.0
_SECTION: Final = "docs/tee.md"


class TEEIdentity:
    """Implements :class:`device_client.identity.port.DeviceIdentity`; made by
    :func:`load_tee_identity`.
    """

    def __init__(self, facts: Facts, signer: TEESigner) -> None:
        self._facts = facts
        self._signer = signer

    @property
    def serial_number(self) -> str:
        """As the device asserts it."""
        return self._facts.serial_number

    @property
    def idevid_issuer(self) -> bytes | None:
        """20-octet keyIdentifier of the OEM's issuer."""
        return self._facts.idevid_issuer

    @property
    def carried(self) -> bool:
        """Whether the device holds its IDevID certificate."""
        return bool(self._facts.certificates)

    @property
    def client_chain(self) -> tuple[x509.Certificate, ...]:
        """The IDevID chain, or the one assertion certificate; leaf first."""
        return self._signer.chain

    @property
    def voucher_anchors(self) -> tuple[x509.Certificate, ...]:
        """Whom alone it believes vouchers."""
        return self._facts.voucher_anchors

    def signer(self) -> TEESigner:
        """The IDevID key, which signs in the signer's process."""
        return self._signer

    def __repr__(self) -> str:
        return f"<TEEIdentity {self.serial_number}>"


class TEESigner:
    """Implements :class:`brski.pki.signer.Signer` by asking over a socket.

    Args:
        path: the signer's socket.
        chain: what the device shows, leaf first.

    Raises:
        KeyNotAllowed: the leaf's key is of no accepted kind.
    """

    def __init__(self, path: Path, chain: tuple[x509.Certificate, ...]) -> None:
        self._path = path
        self._chain = chain
        self._public_key = public_key_of_certificate(chain[0])

    @property
    def public_key(self) -> PublicKey:
        """The key's public half."""
        return self._public_key

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What the device shows in TLS, leaf first."""
        return self._chain

    def sign(self, data: bytes) -> bytes:
        """See the port. The signature is verified before it is returned.

        Raises:
            KeyUnusable: the signer refuses, or signs with another key.
            Unavailable: it does not answer.
        """
        try:
            signature = wire.parse_signature(ask(self._path, wire.encode_sign(data)))
            signatures.verify(self._public_key, signature, data, what="signer's answer")
        except PeerError as err:
            raise KeyUnusable(f"{self._path}: {err.reason}", section=_SECTION) from err
        return signature

    def __repr__(self) -> str:
        return f"<TEESigner {self._path}>"


def load_tee_identity(path: Path) -> TEEIdentity:
    """Ask the signer at *path* who the device is.

    Raises:
        Unavailable: it does not answer.
        SettingsError: the socket is not in a folder of its own.
        KeyUnusable: it says what cannot be, refuses, or is not whom the folder belongs to.
    """
    answer = ask(path, wire.encode_describe())
    try:
        fields = Fields(answer, wire.ANSWER)
        facts = fields.facts(lambda _: None)  # the derivation is the signer's business
        chain = fields.read("client-chain", certificates_of)
        _check_shown(facts, chain)
        return TEEIdentity(facts, TEESigner(path, chain))
    except (StateError, PeerError) as err:
        raise KeyUnusable(f"{path}: {err.reason}", section=_SECTION) from err


def _check_shown(facts: Facts, chain: tuple[x509.Certificate, ...]) -> None:
    if facts.certificates:
        if chain != facts.certificates:
            raise KeyUnusable("the signer shows another chain than it carries", section=_SECTION)
        check_carried_chain(
            chain,
            spki=spki_of(chain[0]),
            serial_number=facts.serial_number,
            idevid_issuer=facts.idevid_issuer,
        )
        return
    if not is_asserted(chain):
        raise KeyUnusable("the signer shows no assertion certificate", section=_SECTION)
    asserted = read_assertion(chain[0])
    if (asserted.serial_number, asserted.idevid_issuer) != (
        facts.serial_number,
        facts.idevid_issuer,
    ):
        raise KeyUnusable("the signer asserts another device than it describes", section=_SECTION)


def ask(path: Path, message: bytes) -> bytes:
    """One request to the signer at *path*, and its answer.

    Raises:
        Unavailable: nobody answers within ``PATIENCE_S``.
        SettingsError: the socket is not in a folder of its own.
        KeyUnusable: an error, or no signer of ours.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(os.fspath(path))
            _check_whose(path, connection)
            with suppress(BrokenPipeError, ConnectionResetError):  # the answer may be there
                connection.sendall(wire.encode_frame(message))
            length = wire.parse_head(_receive(connection, wire.HEAD_OCTETS))
            answer = _receive(connection, length)
    except (OSError, EOFError) as err:
        raise Unavailable(f"the signer at {path} does not answer: {_told(err)}") from err
    except PeerError as err:
        raise KeyUnusable(f"{path}: {err.reason}", section=_SECTION) from err
    if code := wire.error_of(answer):
        raise KeyUnusable(f"the signer at {path} says {code}", section=_SECTION)
    return answer


def _check_whose(path: Path, connection: socket.socket) -> None:
    owner = owner_of_folder(path.parent)
    if user_of_peer(connection) != owner:
        raise SettingsError(f"another than the owner of {path.parent} listens there")


def _receive(connection: socket.socket, octets: int) -> bytes:
    received = bytearray()
    while len(received) < octets:
        more = connection.recv(octets - len(received))
        if not more:
            raise EOFError("the connection ended")
        received += more
    return bytes(received)


def _told(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
