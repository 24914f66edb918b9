"""The signer's process: a socket, and who may ask what of the key behind it. docs/tee.md."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from brski.edge.cli import print_json_line
from brski.errors import KeyUnusable, Malformed, NotSignedHere, PeerError, SettingsError, StateError
from brski.pki import signatures
from brski.pki.keys import certificate_der
from device_client.identity.facts import Facts, encode_facts
from device_client.identity.port import DeviceIdentity
from device_client.identity.tee import wire
from device_client.identity.tee.judge import check_may_be_signed
from device_client.identity.tee.peer import owner_of_folder, user_of_peer

log = logging.getLogger(__name__)
audit = logging.getLogger(f"{__name__}.audit")

AT_ONCE: Final = 16
REQUEST_S: Final = 5.0
_BACKLOG: Final = 64
_MCL_CURRENT: Final = 1  # mlockall(2)
_CURVES: Final = frozenset({"sha256", "sha384"})


class Signer:
    """What the signer answers, one request at a time.

    Args:
        facts: what the device was told of itself.
        identity: with its key in this process.

    Raises:
        KeyUnusable: the key is neither P-256 nor P-384.
    """

    def __init__(self, facts: Facts, identity: DeviceIdentity) -> None:
        self._signer = identity.signer()
        _, digest = signatures.digest_algorithm(self._signer.public_key)
        if digest not in _CURVES:
            raise KeyUnusable("the key of a device with a TEE must be P-256 or P-384")
        self._digest_octets = 32 if digest == "sha256" else 48
        self._shown = certificate_der(identity.client_chain[0])
        self._identity = encode_facts(
            facts, wire.ANSWER, client_chain=[certificate_der(c) for c in identity.client_chain]
        )

    def answer(self, message: bytes) -> bytes:
        """The answer to one request, an error's code included; raises nothing."""
        try:
            data = wire.parse_request(message)
            return self._identity if data is None else wire.encode_signature(self._sign(data))
        except NotSignedHere as err:
            audit.warning("not signed", extra={"reason": err.reason})
            return wire.encode_error(wire.NOT_SIGNED_HERE)
        except PeerError as err:
            audit.warning("request not understood", extra={"reason": err.reason})
            return wire.encode_error(wire.MALFORMED)

    def _sign(self, data: bytes) -> bytes:
        check_may_be_signed(data, certificate_der=self._shown, digest_octets=self._digest_octets)
        return self._signer.sign(data)


@asynccontextmanager
async def serving(
    signer: Signer, path: Path, *, client_uid: int | None = None
) -> AsyncIterator[None]:
    """Answer while the block runs.

    Args:
        path: of the socket; its folder is made when missing.
        client_uid: whose processes may ask; None for those of this process's own user.

    Raises:
        SettingsError: the socket cannot be there.
        StateError: another signer answers at *path*.
    """
    allowed = os.geteuid() if client_uid is None else client_uid
    places = asyncio.Semaphore(AT_ONCE)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with places:
            await _converse(signer, allowed, reader, writer)

    listening = _open_socket(path, allowed)
    server = await asyncio.start_unix_server(handle, sock=listening, backlog=_BACKLOG)
    async with server:
        log.info("listening", extra={"socket": str(path), "client_uid": allowed})
        try:
            yield
        finally:
            _remove(path)


async def serve_signer(
    signer: Signer, path: Path, *, client_uid: int | None = None, announce: bool = False
) -> None:
    """Answer until SIGTERM or SIGINT; arguments and errors as of :func:`serving`.

    Args:
        announce: print one JSON line on stdout once the socket is open.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(signer, path, client_uid=client_uid):
        if announce:
            print_json_line({"event": "listening", "listeners": {"signer": str(path)}})
        await stop.wait()


async def _converse(
    signer: Signer,
    allowed: int,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """One connection: one request, one answer."""
    try:
        async with asyncio.timeout(REQUEST_S):
            writer.write(wire.encode_frame(await _answer(signer, allowed, reader, writer)))
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        audit.warning("a request that never was whole, or an answer that nobody read")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _answer(
    signer: Signer,
    allowed: int,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bytes:
    uid = user_of_peer(writer.get_extra_info("socket"))
    if uid != allowed:
        audit.warning("a stranger asked", extra={"uid": uid})
        return wire.encode_error(wire.NOT_ALLOWED)
    try:
        length = wire.parse_head(await reader.readexactly(wire.HEAD_OCTETS))
    except Malformed as err:
        audit.warning("request not understood", extra={"reason": err.reason})
        return wire.encode_error(wire.MALFORMED)
    return signer.answer(await reader.readexactly(length))


# -- the socket


def _open_socket(path: Path, allowed: int) -> socket.socket:
    own = allowed == os.geteuid()
    _make_folder(path.parent, mode=0o700 if own else 0o711)
    _remove_leftover(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    mask = os.umask(0o177)  # the socket is 0600 from its first moment
    try:
        listening.bind(str(draft))
        listening.listen(_BACKLOG)
        if not own:
            os.chown(draft, allowed, -1)
        draft.replace(path)  # who sees it can be served
    except OSError as err:
        listening.close()
        _remove(draft)
        raise SettingsError(
            f"no socket at {path}: {err.strerror or err}",
            hint="only root can let another user ask; a path has 107 octets at most",
        ) from err
    finally:
        os.umask(mask)
    return listening


def _make_folder(folder: Path, *, mode: int) -> None:
    try:
        folder.mkdir()
        folder.chmod(mode)
    except FileExistsError:
        pass
    except OSError as err:
        raise SettingsError(f"{folder} cannot be made: {err.strerror or err}") from err
    if owner_of_folder(folder) not in {0, os.geteuid()}:
        raise SettingsError(f"{folder} belongs to another user")


def _remove_leftover(path: Path) -> None:
    """Remove the socket of a signer that is gone; nothing else."""
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise SettingsError(f"{path} is there, and no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(REQUEST_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError:
            pass
    raise StateError(f"another signer answers at {path}")


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def lock_memory() -> bool:
    """Ask the kernel to keep what is mapped now out of swap; whether it does."""
    try:
        return bool(ctypes.CDLL(None).mlockall(_MCL_CURRENT) == 0)
    except (OSError, AttributeError):
        return False
