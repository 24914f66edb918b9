"""A network of a test's own: a namespace with loopback and one interface, and nobody else in it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.kit.programs import require_program

_CLONE_NEWNET: Final = 0x40000000
ADDRESS: Final = "192.0.2.1"
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_network() -> Iterator[str]:
    """Put this thread, and the threads and processes that it starts, into a namespace of their own.

    Yields:
        The address of the one interface beside loopback; it carries multicast.
    """
    ip = require_program("ip", package="iproute2")
    former = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.unshare(_CLONE_NEWNET) != 0:
            pytest.skip("needs the right to make a network namespace")
        for command in (
            "link set lo up",
            "link add lan0 type veth peer name lan1",
            f"addr add {ADDRESS}/24 dev lan0",
            "link set lan0 addrgenmode none",  # no address that is still being tried
            "link set lan1 addrgenmode none",
            "link set lan0 up",
            "link set lan1 up",
        ):
            subprocess.run([ip, *command.split()], check=True)
        yield ADDRESS
    finally:
        assert _LIBC.setns(former, _CLONE_NEWNET) == 0
        os.close(former)


@contextmanager
def second_host() -> Iterator[tuple[str, ...]]:
    """Another host in :func:`own_network`, on the other end of its cable.

    Yields:
        What to put before a command that is to run there; its address is 192.0.2.2.
    """
    ip, enter = require_program("ip", "iproute2"), require_program("nsenter", "util-linux")
    host = subprocess.Popen(
        [require_program("unshare", "util-linux"), "--net", "sh", "-c", "echo up; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert host.stdout is not None
        assert host.stdout.readline() == b"up\n"
        there = (enter, "--target", str(host.pid), "--net")
        subprocess.run([ip, "link", "set", "lan1", "netns", str(host.pid)], check=True)
        for command in (
            "link set lo up",
            "addr add 192.0.2.2/24 dev lan1",
            "link set lan1 addrgenmode none",
            "link set lan1 up",
        ):
            subprocess.run([*there, ip, *command.split()], check=True)
        yield there
    finally:
        host.communicate()
