"""A pledge with a TEE as a process of its own, perhaps of a user who may do nothing else.

One JSON document a line on stdout: each step as it ends, and the end with all artifacts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from brski.edge.cli import harden_process, print_json_line
from brski.errors import OnboardingError
from brski_lab.devices.port import Ended
from device_client.identity.from_tee import load_tee_identity
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.outcome import Artifacts, Outcome, Step, World
from device_client.pledge.origin import Origin, parse_origin
from device_client.pledge.states import Result, StepName, StepStatus

_LOOK_AGAIN_S: Final = 0.02
# made here, since the loop would import its own only when it is too late to read a module
_THREADS: Final = ThreadPoolExecutor(max_workers=4)


def main(argv: Sequence[str] | None = None) -> int:
    """Join, and tell it; 0 if it came to an end of its own, 1 with a line on stderr if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--keystore", type=Path, required=True)
    parser.add_argument("--registrar", type=parse_origin, required=True)
    parser.add_argument("--user", type=int, help="become this user and group for good")
    given = parser.parse_args(argv)
    if given.user is not None:  # only now: the user need not be able to read our modules
        _become(given.user)
    harden_process()
    while not given.socket.exists():  # the signer starts with us; who started both, ends both
        time.sleep(_LOOK_AGAIN_S)
    try:
        outcome = asyncio.run(_join(given.socket, given.keystore, given.registrar))
    except OnboardingError as err:
        print(err, file=sys.stderr)
        return 1
    print_json_line({"ended": _document(outcome)})
    return 0


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


async def _join(socket: Path, keystore: Path, registrar: Origin) -> Outcome:
    asyncio.get_running_loop().set_default_executor(_THREADS)
    identity = await asyncio.to_thread(load_tee_identity, socket)
    world = World(observer=lambda step: print_json_line({"step": _step_document(step)}))
    return await onboard(identity, [registrar], FileKeystore(keystore), world=world)


def _step_document(step: Step) -> Mapping[str, object]:
    return {
        "name": step.name,
        "status": step.status,
        "ms": step.ms,
        "detail": step.detail,
        "registrar": str(step.registrar),
    }


def read_step(document: Mapping[str, Any]) -> Step:
    """The step that a line tells of."""
    return Step(
        name=StepName(document["name"]),
        status=StepStatus(document["status"]),
        ms=document["ms"],
        detail=document["detail"],
        registrar=parse_origin(document["registrar"]),
    )


def _document(outcome: Outcome) -> Mapping[str, object]:
    made = outcome.artifacts
    return {
        "result": outcome.result,
        "reason": outcome.reason,
        "artifacts": {each.name: getattr(made, each.name) for each in fields(made)},
    }


def read_end(document: Mapping[str, Any]) -> Ended:
    """What the last line tells of."""
    made = {name: _octets(value) for name, value in document["artifacts"].items()}
    return Ended(
        result=Result(document["result"]),
        reason=document["reason"],
        artifacts=Artifacts(**made),
    )


def _octets(value: str | list[str]) -> Any:
    return bytes.fromhex(value) if isinstance(value, str) else tuple(map(bytes.fromhex, value))
