"""Workers on several machines, by Dask: a real scheduler and real workers, over mutual TLS."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.kit import factory, pki
from tests.kit.factory import FactoryKit
from tests.kit.programs import require_library

PROGRAM = "import sys; from oem_backend.cli import main; sys.exit(main())"
CHUNKS, IN_A_CHUNK = 8, 3
CA = pki.make_root("Factory cluster CA")
BOTH_ENDS = (
    ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,
    ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string,
)
MEMBER = pki.make_server(CA, ekus=BOTH_ENDS)
STRANGER = pki.make_server(pki.make_root("Somebody's CA"), ekus=BOTH_ENDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where it is, and its workers."""

    scheduler: str
    workers: Sequence[subprocess.Popen[bytes]]


def write_member(folder: Path, name: str, member: pki.Entity) -> dict[str, Path]:
    """The files of somebody who wants in."""
    paths = {kind: folder / f"{name}.{kind}" for kind in ("ca", "cert", "key")}
    paths["ca"].write_bytes(CA.certificate.public_bytes(Encoding.PEM))
    paths["cert"].write_bytes(member.chain_pem)
    paths["key"].touch(mode=0o600)
    paths["key"].write_bytes(member.key_pem)
    return paths


def patiently(condition: Callable[[], object], what: str) -> None:
    """Wait for something that comes within seconds, and fail after a minute."""
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"no {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _has_registered(log: Path) -> bool:
    return b"Registered to" in log.read_bytes()


def start(folder: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
    """One of Dask's programs; what it says is kept beside its files."""
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]],
            stdout=log,
            stderr=log,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler and two workers, who let members of the cluster's CA in."""
    require_library("distributed", extra="dask")
    folder = tmp_path / "cluster"
    folder.mkdir()
    files = write_member(folder, "member", MEMBER)
    tls = [
        *("--tls-ca-file", str(files["ca"]), "--tls-cert", str(files["cert"])),
        *("--tls-key", str(files["key"])),
    ]
    scheduler = f"tls://127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        listening = ("--protocol", "tls", "--host", "127.0.0.1", "--no-dashboard")
        port = scheduler.rpartition(":")[2]
        stack.enter_context(
            ended(start(folder, "scheduler", "scheduler", *listening, "--port", port, *tls))
        )
        options = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        workers = [
            stack.enter_context(
                ended(start(folder, name, "worker", scheduler, *options, "--name", name, *tls))
            )
            for name in ("one", "two")
        ]
        for name in ("one", "two"):
            log = folder / f"{name}.log"
            patiently(partial(_has_registered, log), f"worker {name}")
        yield Cluster(scheduler=scheduler, workers=workers)


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    (tmp_path / "factory").mkdir()
    return factory.found(tmp_path / "factory")


def use(kit: FactoryKit, scheduler: str, member: pki.Entity = MEMBER) -> None:
    """Let ``make`` use the cluster."""
    files = write_member(kit.folder, "client", member)
    rows = {"kind": "dask", "scheduler": scheduler, **{k: str(v) for k, v in files.items()}}
    settings = kit.settings.read_text().replace(
        "[factory]\n", '[factory]\nworker_keys = "worker"\n'
    )
    table = "".join(f"{name} = {json.dumps(value)}\n" for name, value in rows.items())
    kit.settings.write_text(f"{settings}\n[factory.executor]\n{table}timeout_s = 5\n")
    (kit.folder / "worker").mkdir()
    shutil.copy(kit.folder / "recipient.key", kit.folder / "worker" / "recipient.key")


def start_make(kit: FactoryKit, built: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-c", PROGRAM, "factory", "make", str(built), "--json"),
            *("-o", str(kit.folder / "bundle"), "-s", str(kit.settings)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def make(kit: FactoryKit, built: Path) -> tuple[int, str, dict[str, Any]]:
    with start_make(kit, built) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, err, json.loads(out) if process.returncode == 0 else {}


def taken(kit: FactoryKit) -> Path:
    """A batch of several chunks is taken in; the build list of all its chips."""
    records = factory.chips(CHUNKS * IN_A_CHUNK)
    kit.take(kit.batch(records, records_a_chunk=IN_A_CHUNK)[0])
    return kit.build_list(factory.serials(records))


def whole_bundle(kit: FactoryKit, built: Path) -> bytes:
    """What processes of this machine make, in a copy of the store."""
    kept = kit.folder / "kept store"
    shutil.copytree(kit.store, kept)
    kit.make(built, "whole")
    shutil.rmtree(kit.store)
    kept.rename(kit.store)
    return (kit.folder / "whole").read_bytes()


@pytest.mark.slow
def test_a_cluster_makes_the_same_octets_and_a_killed_worker_costs_nothing(
    kit: FactoryKit, cluster: Cluster
) -> None:
    """One of two workers is killed at its work: its chunk is done by the other, and counts once."""
    built = taken(kit)
    expected = whole_bundle(kit, built)
    use(kit, cluster.scheduler)
    # the recipient key that workers open with is their own file, not the coordinator's
    (kit.folder / "recipient.key").chmod(0o644)
    victim = cluster.workers[0]
    children = Path(f"/proc/{victim.pid}/task")
    with start_make(kit, built) as process:
        patiently(
            lambda: any((task / "children").read_text() for task in children.iterdir()),
            "job under way",
        )
        victim.kill()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["certified"] == CHUNKS * IN_A_CHUNK
    assert (kit.folder / "bundle").read_bytes() == expected


@pytest.mark.slow
def test_who_has_no_certificate_of_the_clusters_ca_is_kept_out(
    kit: FactoryKit, cluster: Cluster
) -> None:
    """And is told to try again: nothing was made, and nothing is lost."""
    built = taken(kit)
    use(kit, cluster.scheduler, STRANGER)
    code, err, _ = make(kit, built)
    assert code == 3
    assert "cannot be reached over mutual TLS" in err
    assert "Traceback" not in err
    assert kit.summary()["certificates"] == 0


@pytest.mark.slow
def test_a_refusal_on_a_worker_comes_back_as_what_it_was(kit: FactoryKit, cluster: Cluster) -> None:
    """The key file of the workers is open to others: their fault is named."""
    built = taken(kit)
    use(kit, cluster.scheduler)
    (kit.folder / "worker" / "recipient.key").chmod(0o644)
    code, err, _ = make(kit, built)
    assert code == 2
    assert "recipient.key" in err


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:8786", "127.0.0.1:8786", "ws://x:1"])
def test_a_scheduler_without_tls_is_refused(kit: FactoryKit, scheduler: str) -> None:
    """Whoever reads the wire would not read seeds, but whoever writes to it has them read."""
    require_library("distributed", extra="dask")
    built = taken(kit)
    use(kit, scheduler)
    code, err, _ = make(kit, built)
    assert code == 2
    assert "factory.executor" in err


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_told(kit: FactoryKit) -> None:
    require_library("distributed", extra="dask")
    built = taken(kit)
    use(kit, f"tls://127.0.0.1:{free_port()}")
    code, err, _ = make(kit, built)
    assert code == 3
    assert "cannot be reached" in err
