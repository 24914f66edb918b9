"""The ceremony of docs/air-gap.md, as the page has it; what the factory asks the kernel for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.programs import require_program

PAGE = Path(__file__).parents[2] / "docs" / "air-gap.md"
BLOCK = re.compile(r"^```sh\n# (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOCKET = re.compile(r"\b(socket|socketpair)\((\w+),")
PROGRAM = "import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"
PROGRAMS = {"brski-oem": "oem_backend.cli", "brski-lab": "brski_lab.cli"}


@dataclass(frozen=True)
class Desk:
    """A folder for all machines, and programs that tell strace what they ask the kernel for."""

    folder: Path
    without_network: list[str]

    @property
    def trace(self) -> Path:
        return self.folder / "trace"

    def shell(self, machine: str, commands: str) -> subprocess.CompletedProcess[str]:
        """Run *commands* as *machine* would; the factory has no network."""
        before = self.without_network if machine == "factory" else []
        names = self.folder / ("traced" if machine == "factory" else "plain")
        path = f"{names}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [*before, "bash", "-e", "-u", "-o", "pipefail", "-c", commands],
            cwd=self.folder / "desk",
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def asked_for(self) -> set[tuple[str, str]]:
        """Every call and address family that a traced process has used."""
        return set(SOCKET.findall(self.trace.read_text()))


def write_program(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    if os.geteuid() != 0:
        pytest.skip("needs root: a network namespace is made")
    unshare = require_program("unshare", "util-linux")
    strace = require_program("strace", "strace")
    require_program("ip", "iproute2")
    require_program("openssl", "openssl")
    trace = tmp_path / "trace"
    traced = f"{strace} -f -qq -A -e trace=socket,socketpair,execve -o {trace}"
    for kind, before in (("plain", ""), ("traced", traced)):
        (tmp_path / kind).mkdir()
        for name, module in PROGRAMS.items():
            program = f"{sys.executable} -c '{PROGRAM.format(module=module)}'"
            write_program(tmp_path / kind / name, f"{before} {program}")
        write_program(tmp_path / kind / "a-program", f"{before} {sys.executable} -c")
    (tmp_path / "desk").mkdir()
    return Desk(tmp_path, [unshare, "--net"])


def blocks() -> list[tuple[str, str]]:
    """Machine and commands, in the order of the page."""
    return BLOCK.findall(PAGE.read_text())


@pytest.mark.requirement("OEM-11")
def test_the_ceremony_of_the_page(desk: Desk) -> None:
    """Its commands, in its order; at the end the database knows the devices.

    The factory's run without an interface, and none of its processes asks for a socket.
    """
    said = {}
    for number, (machine, commands) in enumerate(blocks()):
        done = desk.shell(machine, commands)
        assert done.returncode == 0, f"{machine}: {commands}\n{done.stdout}{done.stderr}"
        said[number] = done.stdout
    interfaces = [line.split()[0] for line in said[0].splitlines()]
    assert interfaces == ["lo"]
    assert "recipient_key_id" in said[1]
    assert re.search(r"(?m)^status +active$", said[max(said)])
    assert desk.asked_for() == set()
    assert '"oem_backend.executors.nursery"' in desk.trace.read_text()  # workers are seen, too
    listed = desk.shell(
        "database",
        "cd stick-4; awk 'NR > 1 { print $1 \"  \" $3 }' MEDIA.txt | sha256sum --check --strict",
    )
    assert (listed.returncode, listed.stdout) == (0, "list-1.bundle: OK\n")


def test_each_machine_of_the_page_is_there() -> None:
    """The pattern finds what the page has, all of it."""
    machines = [machine for machine, _ in blocks()]
    assert len(machines) == PAGE.read_text().count("```sh")
    assert set(machines) == {"factory", "vendor", "assembly", "database"}


def test_a_program_that_opens_one_is_caught(desk: Desk) -> None:
    """The control: the same trace shows it, in the program itself or in one that it starts."""
    opened = [
        *("socket.AF_INET", "socket.AF_INET6, socket.SOCK_DGRAM"),
        *("socket.AF_PACKET, socket.SOCK_RAW", "socket.AF_UNIX"),
    ]
    statements = "; ".join(f"socket.socket({each}).close()" for each in opened)
    started = "os.spawnlp(os.P_WAIT, 'ip', 'ip', 'link')"
    done = desk.shell(
        "factory", f'a-program "import os, socket; {statements}; socket.socketpair(); {started}"'
    )
    assert done.returncode == 0, done.stderr
    families = {"AF_INET", "AF_INET6", "AF_PACKET", "AF_UNIX", "AF_NETLINK"}
    assert desk.asked_for() == {("socket", name) for name in families} | {("socketpair", "AF_UNIX")}


def test_there_is_no_way_out(desk: Desk) -> None:
    """The namespace has no interface that is up, not even loopback."""
    connect = "socket.create_connection(('127.0.0.1', 9), 5)"
    done = desk.shell("factory", f'a-program "import socket; {connect}"')
    assert "Network is unreachable" in done.stderr
