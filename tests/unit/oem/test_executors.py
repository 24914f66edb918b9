"""Workers as processes: one for each job, gone after it, and nothing but octets between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brski.errors import BatchRefused, TooManyRequests, Unavailable
from brski.pki import cbor
from oem_backend.executors.processes import ProcessExecutor


@pytest.fixture(autouse=True)
def _tasks_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker imports its task by name; these are of this file."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


def echo(job: bytes) -> bytes:
    return job


def who(_job: bytes) -> bytes:
    return b"%d" % os.getpid()


def slow_first(job: bytes) -> bytes:
    if job == b"0":
        time.sleep(0.5)
    return job


def refuse(job: bytes) -> bytes:
    raise BatchRefused("chunk 3 is odd", hint="ask the vendor") from ValueError(job.decode())


def stumble(job: bytes) -> bytes:
    raise ValueError(f"what must not leave: {job.decode()}")


def count(job: bytes) -> bytes:
    raise TooManyRequests("one too many", retry_after_s=int(job))


def die(_job: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def leave(_job: bytes) -> bytes:
    os._exit(0)


def chatter(job: bytes) -> bytes:
    print("a stray line with", job.decode(), flush=True)
    print("and another with", job.decode(), file=sys.stderr, flush=True)
    return b"quiet"


def surroundings(_job: bytes) -> bytes:
    core = Path("/proc/self/limits").read_text().split("Max core file size")[1].split()[:2]
    network = {"aiohttp", "sqlalchemy", "asyncio", "ssl"} & sys.modules.keys()
    return cbor.encode([*core, sys.flags.safe_path, *sorted(network)])


def wait_for_ever(job: bytes) -> bytes:
    Path(job.decode()).write_text(str(os.getpid()))
    time.sleep(600)
    return b""


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def patiently(condition: object) -> bool:
    assert callable(condition)
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("workers", [1, 3])
def test_answers_come_in_the_order_of_the_jobs(workers: int) -> None:
    """Also where a later one is done first; empty and large octets pass as they are."""
    jobs = [b"0", b"1", b"", bytes(range(256)) * 4096]
    assert list(ProcessExecutor(workers).map(slow_first, jobs)) == jobs


@pytest.mark.requirement("OEM-9")
def test_each_job_has_a_process_of_its_own_that_has_ended() -> None:
    """When an answer is there, its worker is not."""
    seen = set()
    for answer in ProcessExecutor(1).map(who, [b"", b"", b""]):
        assert is_gone(int(answer))
        seen.add(answer)
    assert len(seen) == 3
    assert b"%d" % os.getpid() not in seen


def test_jobs_are_taken_as_workers_become_free() -> None:
    """A million chips are never held at once."""
    taken = []

    def jobs() -> Iterator[bytes]:
        for number in range(6):
            taken.append(number)
            yield b"%d" % number

    for number, _ in enumerate(ProcessExecutor(2).map(echo, jobs())):
        assert len(taken) <= number + 2


def test_a_refusal_comes_back_as_what_it_was() -> None:
    """Type, reason and hint; not its cause, which may quote anything."""
    with pytest.raises(BatchRefused) as refused:
        list(ProcessExecutor(1).map(refuse, [b"secret"]))
    assert (refused.value.reason, refused.value.hint) == ("chunk 3 is odd", "ask the vendor")
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (stumble, "a worker failed: ValueError"),
        (count, "a worker failed: TooManyRequests"),
        (die, "a worker ended by signal 9, without an answer"),
        (leave, "a worker ended with code 0, without an answer"),
    ],
)
def test_what_nobody_foresaw_tells_its_kind_alone(task: object, told: str) -> None:
    """The message of a stranger's exception could hold a seed."""
    with pytest.raises(Unavailable) as failed:
        list(ProcessExecutor(1).map(task, [b"7"]))  # type: ignore[arg-type]
    assert failed.value.reason == told


def test_a_task_that_is_not_there_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def inner(job: bytes) -> bytes:
        return job

    with pytest.raises(Unavailable, match="nursery ended with code 1"):
        list(ProcessExecutor(1).map(inner, [b""]))
    assert "inner" in capfd.readouterr().err  # before there is any secret, Python may say why


def test_nothing_that_a_task_prints_gets_anywhere(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither to the terminal nor into the answer."""
    assert list(ProcessExecutor(1).map(chatter, [b"a secret"])) == [b"quiet"]
    said = capfd.readouterr()
    assert said.out + said.err == ""


def test_a_worker_has_no_core_file_and_no_network_at_hand() -> None:
    """Forked by a fresh interpreter, not by one that has loaded half the world."""
    (answer,) = ProcessExecutor(1).map(surroundings, [b""])
    assert cbor.decode(answer) == ["0", "0", True]


def test_workers_end_when_nobody_wants_their_answers(tmp_path: Path) -> None:
    """The caller stops asking: the one that is at work is ended, not waited for."""
    path = tmp_path / "pid"

    def jobs() -> Iterator[bytes]:
        yield b"quick"
        yield str(path).encode()

    answers = ProcessExecutor(2).map(mixed, jobs())
    next(answers)
    assert patiently(lambda: path.exists() and path.read_text())
    answers.close()
    assert is_gone(int(path.read_text()))


def mixed(job: bytes) -> bytes:
    return job if job == b"quick" else wait_for_ever(job)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's prctl")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL to the factory leaves no process with seeds behind."""
    path = tmp_path / "pid"
    script = (
        "import sys\n"
        "from oem_backend.executors.processes import ProcessExecutor\n"
        "from tests.unit.oem.test_executors import wait_for_ever\n"
        "list(ProcessExecutor(1).map(wait_for_ever, [sys.argv[1].encode()]))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(path)])
    try:
        assert patiently(lambda: path.exists() and path.read_text())
    finally:
        parent.kill()
        parent.wait()
    assert patiently(lambda: is_gone(int(path.read_text())))


def test_a_machine_that_starts_no_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unavailable, match="cannot be started"):
        list(ProcessExecutor(1).map(echo, [b""]))
