"""A pledge and its signer as two processes: who may ask, what is told, what cannot be reached."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.signers.key import KeySigner
from brski.edge.tls_engine import TLS_1_2, TLS_1_3
from brski.errors import KeyUnusable, SettingsError, StateError, Unavailable
from brski.idevid.record import Presentation
from brski.pki import cbor
from brski_lab.children import Children
from brski_lab.devices.port import Joining
from brski_lab.devices.tee import TEEDevice
from device_client.cli import main
from device_client.identity import from_tee
from device_client.identity.from_seed import SeedIdentity, write_fuse
from device_client.identity.from_tee import load_tee_identity
from device_client.identity.tee import server, wire
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.outcome import Outcome, Step
from device_client.pledge.states import Result
from device_client.transport.http import Limits
from tests.integration.test_factory_memory import spellings
from tests.kit import pki
from tests.kit.device import SEED, World, make_fuse
from tests.kit.elsewhere import IdentityElsewhere
from tests.kit.stub_registrar import StubRegistrar
from tests.kit.tee import SignerProcess, is_root, short_folder, signer_process

WORLD = World.make()
FUSE = make_fuse(WORLD.oem, WORLD.masa_root)
LIMITS = Limits(progress_s=30, answer_s=60)
NOBODY = 65534

root_only = pytest.mark.skipif(not is_root(), reason="only root gives a process another user")


async def join(identity: object, registrar: StubRegistrar, folder: Path) -> Outcome:
    keystore = FileKeystore(folder)
    return await onboard(identity, [registrar.origin], keystore, limits=LIMITS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def signer() -> Iterator[SignerProcess]:
    with signer_process(FUSE) as running:
        yield running


# -- the whole way


@pytest.mark.requirement("E2E-1")
@pytest.mark.parametrize("presentation", Presentation)
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
async def test_a_device_enrolls(tmp_path: Path, presentation: Presentation, version: int) -> None:
    """Over TLS with the key in the other process; the registrar sees what it always sees."""
    fuse = make_fuse(WORLD.oem, WORLD.masa_root, presentation=presentation)
    with signer_process(fuse) as running:
        identity = load_tee_identity(running.socket)
        registrar = StubRegistrar(WORLD)
        async with registrar.serving(maximum=version):
            outcome = await join(identity, registrar, tmp_path / "keystore")
    assert (outcome.result, outcome.reported) == (Result.ENROLLED, True)
    assert registrar.heard[0].client_chain == SeedIdentity(fuse).client_chain


async def test_two_pledges_at_once_on_one_signer(tmp_path: Path, signer: SignerProcess) -> None:
    """Each request has a connection of its own; neither waits for the other's onboarding."""
    registrar = StubRegistrar(WORLD)
    async with registrar.serving():
        outcomes = await asyncio.gather(
            *(
                join(load_tee_identity(signer.socket), registrar, tmp_path / str(number))
                for number in range(2)
            )
        )
    assert [outcome.result for outcome in outcomes] == [Result.ENROLLED] * 2


def test_the_program_takes_a_tee_by_its_settings(
    tmp_path: Path, signer: SignerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """``kind = "tee"``."""
    settings = tmp_path / "pledge.toml"
    settings.write_text(f'[identity]\nkind = "tee"\nsocket = {json.dumps(str(signer.socket))}\n')
    assert main(["check", "-s", str(settings)]) == 0
    assert pki.SERIAL_NUMBER in capsys.readouterr().out
    settings.write_text('[identity]\nkind = "tee"\nsocket = "nobody"\n')
    assert main(["check", "-s", str(settings)]) == 3
    assert "does not answer" in capsys.readouterr().err


# -- the signer is gone


async def test_killed_in_the_middle_of_the_handshake(tmp_path: Path) -> None:
    """Told in one line, nothing half done; started again, the same device enrolls."""
    with signer_process(FUSE) as running:
        identity = IdentityElsewhere(load_tee_identity(running.socket))
        identity.key.before = lambda _: running.kill()
        registrar = StubRegistrar(WORLD)
        async with registrar.serving():
            outcome = await join(identity, registrar, tmp_path / "keystore")
            assert (outcome.result, outcome.code) == (Result.RETRY, "unavailable")
            assert f"the signer at {running.socket} does not answer" in outcome.reason
            assert registrar.heard == []
            identity.key.before = lambda _: None
            running.start()
            outcome = await join(identity, registrar, tmp_path / "keystore")
    assert outcome.result is Result.ENROLLED


def test_killed_with_a_request_in_hand() -> None:
    """It is stopped before it can answer, and then killed."""
    with signer_process(FUSE) as running:
        identity = load_tee_identity(running.socket)
        os.kill(running.pid, signal.SIGSTOP)
        timer = threading.Timer(0.2, running.kill)
        timer.start()
        with pytest.raises(Unavailable, match="does not answer"):
            identity.signer().sign(b" " * 64 + b"TLS 1.3, client CertificateVerify\x00" + bytes(32))
        timer.join()


def test_a_signer_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for longer than it takes."""
    monkeypatch.setattr(from_tee, "PATIENCE_S", 0.2)
    with signer_process(FUSE) as running:
        identity = load_tee_identity(running.socket)
        os.kill(running.pid, signal.SIGSTOP)
        with pytest.raises(Unavailable, match="does not answer"):
            identity.signer().sign(b"x")
        os.kill(running.pid, signal.SIGCONT)


def test_there_is_no_signer(tmp_path: Path) -> None:
    """It may come; try again."""
    with pytest.raises(Unavailable, match="does not answer"):
        load_tee_identity(tmp_path / "socket")


# -- garbage, either way


def converse(path: Path, octets: bytes, *, end: bool = True) -> bytes:
    """Send *octets* as they are; what comes back until the other end closes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        try:
            connection.sendall(octets)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except OSError:  # refused before all was sent
            pass
        answer = b""
        try:
            while more := connection.recv(65536):
                answer += more
        except ConnectionResetError:
            pass
        return answer


MALFORMED = wire.encode_frame(wire.encode_error(wire.MALFORMED))
GARBAGE = {
    "text": (b"GET / HTTP/1.1\r\n\r\n", MALFORMED),
    "no content": (bytes(4), MALFORMED),
    "4 GiB": (b"\xff" * 4 + bytes(1000), MALFORMED),
    "not CBOR": (b"\x00\x00\x00\x02\xff\xff", MALFORMED),
    "an unknown operation": (wire.encode_frame(b"\xa1\x62op\x66export"), MALFORMED),
    "nothing": (b"", b""),
    "half a head": (b"\x00\x00", b""),
    "half a frame": (b"\x00\x00\x00\x10abc", b""),
    "a TBSCertificate": (
        wire.encode_frame(wire.encode_sign(WORLD.registrar.certificate.tbs_certificate_bytes)),
        wire.encode_frame(wire.encode_error(wire.NOT_SIGNED_HERE)),
    ),
}


@pytest.mark.parametrize(("octets", "answer"), GARBAGE.values(), ids=list(GARBAGE))
def test_garbage_on_the_socket(signer: SignerProcess, octets: bytes, answer: bytes) -> None:
    """A code at most, no signature; and the next one is served as before."""
    assert converse(signer.socket, octets) == answer
    assert load_tee_identity(signer.socket).serial_number == pki.SERIAL_NUMBER


def test_one_request_a_connection(signer: SignerProcess) -> None:
    """A second one on it is not looked at."""
    request = wire.encode_frame(wire.encode_describe())
    answer = converse(signer.socket, request * 2)
    assert len(answer) == 4 + wire.parse_head(answer[:4])


async def test_who_asks_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """More such peers than are served at once, and still an honest one comes through."""
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    with short_folder() as folder:
        path = folder / "signer" / "socket"
        async with server.serving(server.Signer(FUSE, SeedIdentity(FUSE)), path):
            idle = [await asyncio.open_unix_connection(path) for _ in range(server.AT_ONCE + 4)]
            identity = await asyncio.to_thread(load_tee_identity, path)
            assert identity.serial_number == pki.SERIAL_NUMBER
            for reader, writer in idle:
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
        assert not path.exists()


@contextmanager
def false_signer(*answers: bytes) -> Iterator[Path]:
    """Somebody who answers each request with the next of *answers*, sent as it is."""
    with short_folder() as folder:
        path = folder / "socket"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listening.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            thread.join()
            listening.close()


def described(fuse: object = FUSE) -> bytes:
    told = server.Signer(fuse, SeedIdentity(fuse))  # type: ignore[arg-type]
    return told.answer(wire.encode_describe())


@pytest.mark.parametrize(
    "answer",
    [
        wire.encode_frame(b"\xff"),
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        wire.encode_frame(wire.encode_signature(b"x")),
        wire.encode_frame(wire.encode_error("whatever")),
    ],
)
def test_a_signer_that_talks_nonsense_is_refused(answer: bytes) -> None:
    """As the device's own fault."""
    with false_signer(answer) as path, pytest.raises(KeyUnusable):
        load_tee_identity(path)


def test_a_signer_that_signs_with_another_key_is_refused() -> None:
    """What it gives is verified before anybody sees it."""
    other = pki.KeySigner(pki.make_key()).sign(b"x")
    answers = [described(), wire.encode_signature(other)]
    with false_signer(*map(wire.encode_frame, answers)) as path:
        identity = load_tee_identity(path)
        with pytest.raises(KeyUnusable, match="does not verify"):
            identity.signer().sign(b"x")


def test_a_signer_that_shows_another_device_is_refused() -> None:
    """Its chain and its facts must be one device's."""
    one = described()
    item = cbor.decode(one)
    assert isinstance(item, dict)
    mixed = cbor.encode({**item, "serial-number": "SN-0002"})
    with false_signer(wire.encode_frame(mixed)) as path, pytest.raises(KeyUnusable):
        load_tee_identity(path)
    with false_signer(wire.encode_frame(one)) as path:
        assert load_tee_identity(path).serial_number == pki.SERIAL_NUMBER


# -- where the socket is, and whose


def test_socket_and_folder_are_private(signer: SignerProcess) -> None:
    """Of the signer's user alone."""
    assert stat.S_IMODE(signer.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(signer.socket.parent.stat().st_mode) == 0o700


async def serve_once(path: Path, **options: int) -> None:
    async with server.serving(server.Signer(FUSE, SeedIdentity(FUSE)), path, **options):
        await asyncio.to_thread(load_tee_identity, path)


async def test_a_folder_that_others_may_write_into_is_refused() -> None:
    """By the signer and by the pledge; its own is taken."""
    with short_folder() as folder:
        await serve_once(folder / "socket")
        folder.chmod(0o777)
        with pytest.raises(SettingsError, match="others may write"):
            await serve_once(folder / "socket")
    with false_signer(wire.encode_frame(described())) as path:
        path.parent.chmod(0o777)
        with pytest.raises(SettingsError, match="others may write"):
            load_tee_identity(path)


async def test_a_signer_that_is_gone_is_replaced_and_one_that_is_there_is_not(
    signer: SignerProcess,
) -> None:
    """A file that is no socket is left alone, too."""
    with short_folder() as folder:
        left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        left.bind(str(folder / "socket"))
        left.close()
        await serve_once(folder / "socket")
        (folder / "file").write_text("mine")
        with pytest.raises(SettingsError, match="and no socket"):
            await serve_once(folder / "file")
        assert (folder / "file").read_text() == "mine"
    with pytest.raises(StateError, match="another signer"):
        await serve_once(signer.socket)


@pytest.mark.parametrize("kind", ["ed25519"])
def test_a_key_that_cannot_speak_tls_from_outside_is_refused(tmp_path: Path, kind: str) -> None:
    """At the start, not at the first handshake."""
    fuse = make_fuse(WORLD.oem, WORLD.masa_root, derivation_profile=kind)
    with pytest.raises(KeyUnusable, match="P-256 or P-384"):
        server.Signer(fuse, SeedIdentity(fuse))


def test_a_fuse_file_that_others_may_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seed were no secret."""
    write_fuse(tmp_path / "device.fuse", FUSE)
    (tmp_path / "device.fuse").chmod(0o640)
    socket_path = tmp_path / "signer" / "socket"
    command = ["tee", "--fuse", str(tmp_path / "device.fuse"), "--socket", str(socket_path)]
    assert main(command) == 2
    assert "0640" in capsys.readouterr().err


# -- another user

AS_ANOTHER = """
import ctypes, json, os, socket, sys
fuse, pid, path, user = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
libc = ctypes.CDLL(None, use_errno=True)
if user:
    os.setgroups([]); os.setresgid(user, user, user); os.setresuid(user, user, user)
def attempt(what):
    try:
        return what()
    except OSError as err:
        return type(err).__name__
def read_seed():
    with open(fuse, "rb") as file:
        return file.read().hex()
def read_memory():
    found = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            try:
                memory.seek(start)
                found.append(memory.read(end - start))
            except (OSError, OverflowError):
                pass
    sys.stdout.buffer.write(b"".join(found))
    return "read"
def trace():
    PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
    if libc.ptrace(PTRACE_SEIZE, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return "traced"
def ask():
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(path)
        try:
            connection.sendall(bytes.fromhex(sys.argv[5]))
        except BrokenPipeError:  # it said no before it heard
            pass
        return connection.recv(65536)[4:].hex()
told = {"seed": attempt(read_seed), "memory": attempt(read_memory), "trace": attempt(trace),
        "ask": attempt(ask)}
print(json.dumps(told), file=sys.stderr)
"""


def try_all(signer: SignerProcess, user: int) -> tuple[dict[str, str], bytes]:
    """What a process of *user* gets at; and the signer's memory, where it could be read."""
    arguments = [str(signer.fuse), str(signer.pid), str(signer.socket), str(user)]
    arguments.append(wire.encode_frame(wire.encode_describe()).hex())
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, *arguments], capture_output=True, timeout=120, check=True
    )
    told: dict[str, str] = json.loads(done.stderr.splitlines()[-1])
    return told, done.stdout


@root_only
def test_the_pledge_s_user_can_neither_read_the_seed_nor_trace_the_signer() -> None:
    """It may ask, and that is all. The control: the same attempts by the signer's user, root."""
    with signer_process(FUSE, "--client-uid", str(NOBODY)) as running:
        told, memory = try_all(running, NOBODY)
        answer = bytes.fromhex(told.pop("ask"))
        assert pki.SERIAL_NUMBER.encode() in answer
        assert told == dict.fromkeys(("seed", "memory", "trace"), "PermissionError")
        assert memory == b""
        told, memory = try_all(running, 0)
    assert SEED.hex() in told["seed"]
    assert (told["memory"], told["trace"]) == ("read", "traced")
    assert SEED in memory
    assert told["ask"] == wire.encode_error(wire.NOT_ALLOWED).hex()
    for spelt in spellings(SEED).values():
        assert spelt not in answer


@root_only
async def test_the_demo_s_pledge_is_nobody(tmp_path: Path) -> None:
    """While it joins, its process has no other user and no group but nobody's; the signer is
    root's.
    """
    write_fuse(tmp_path / "device.fuse", FUSE)
    registrar = StubRegistrar(WORLD)
    users: list[tuple[str, str, str]] = []
    async with registrar.serving(), Children(tmp_path / "logs") as children:

        def look(_: Step) -> None:
            users.append(_ids(children.pid("brski-lab-pledge")))
            users.append(_ids(children.pid("brski-pledge")))

        ended = await TEEDevice().join(
            Joining(
                stage=SimpleNamespace(registrar_port=registrar.port),  # type: ignore[arg-type]
                children=children,
                serial_number=pki.SERIAL_NUMBER,
                fuse=tmp_path / "device.fuse",
                keystore=tmp_path / "keystore",
                observe=look,
            )
        )
    assert ended.result is Result.ENROLLED
    assert ended.artifacts.ldevid_chain[0] == registrar.heard[-1].client_chain[0].public_bytes(
        Encoding.DER
    )
    nobody, root = str(NOBODY), str(os.geteuid())
    assert set(users) == {(nobody, nobody, ""), _ids(os.getpid())}
    assert _ids(os.getpid())[0] == root


def _ids(pid: int) -> tuple[str, str, str]:
    """User, group and further groups of a process, the first two the same four times."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    (user,), (group,) = set(fields["Uid"]), set(fields["Gid"])
    return user, group, " ".join(fields["Groups"])


@root_only
def test_whom_the_signer_does_not_know_gets_no_word() -> None:
    """The kernel says who it is; being root, or nobody, is no help."""
    with signer_process(FUSE, "--client-uid", "4711") as running:
        os.chown(running.socket, NOBODY, NOBODY)  # as if the file system let it through
        told, _ = try_all(running, NOBODY)
        assert told["ask"] == wire.encode_error(wire.NOT_ALLOWED).hex()
        with pytest.raises(KeyUnusable, match="not-allowed"):
            load_tee_identity(running.socket)


@root_only
def test_another_user_s_folder_is_refused() -> None:
    """Whoever owns it could put another socket there."""
    with signer_process(FUSE) as running:
        os.chown(running.socket.parent, NOBODY, NOBODY)
        with pytest.raises(SettingsError, match="another than the owner"):
            load_tee_identity(running.socket)


def test_a_process_of_the_same_user_cannot_trace_the_signer(signer: SignerProcess) -> None:
    """The dumpable flag is clear, so the kernel gives its files in /proc to root."""
    assert Path(f"/proc/{signer.pid}/environ").stat().st_uid == 0
    control = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert Path(f"/proc/{control.pid}/environ").stat().st_uid == os.geteuid()
    control.communicate(b"\n")
    limits = Path(f"/proc/{signer.pid}/limits").read_text()
    assert "Max core file size        0                    0" in limits


@root_only
def test_the_signer_s_memory_is_locked(signer: SignerProcess) -> None:
    """Where the kernel lets it, as it lets root."""
    status = Path(f"/proc/{signer.pid}/status").read_text()
    (locked,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmLck:"))
    assert int(locked) > 0


def test_no_key_leaves_the_signer(signer: SignerProcess) -> None:
    """The pledge's signer has none to give."""
    key = load_tee_identity(signer.socket).signer()
    assert not isinstance(key, KeySigner)
    assert not hasattr(key, "private_key")
