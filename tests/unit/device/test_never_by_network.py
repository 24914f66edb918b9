"""Nothing that comes over a network resets the device, or makes it trust without a voucher."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import device_client
from device_client.pledge.machine import TABLE
from device_client.pledge.states import State

PACKAGE = Path(device_client.__file__).parent


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr


@pytest.mark.requirement("PL-32")
def test_a_reset_is_a_persons_command() -> None:
    """The one caller of the keystore's reset is the program's command."""
    callers = [path.name for path in PACKAGE.rglob("*.py") if "reset" in calls(path)]
    assert callers == ["cli.py"]


@pytest.mark.requirement("PL-32")
def test_the_device_listens_to_nobody() -> None:
    """It opens no socket that others could connect to, but for its TEE's, which is a local one.
    Where it hears of registrars, what it hears is addresses (docs/discovery.md).
    """
    listening = {"start_server", "create_server", "start_unix_server", "listen"}
    callers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if listening & set(calls(path))
    }
    assert callers == {"identity/tee/server.py"}


@pytest.mark.requirement("PL-32")
def test_one_door_leads_past_the_voucher() -> None:
    """EST begins in one state, and only a voucher that was judged leads there, or an LDevID."""
    source = (PACKAGE / "pledge" / "bootstrap.py").read_text()
    assert source.count("state=State.ACCEPTING") == 1
    others = [p for p in (PACKAGE / "pledge").glob("*.py") if p.name != "bootstrap.py"]
    assert not [p.name for p in others if "state=State.ACCEPTING" in p.read_text()]
    assert {state for state, _ in TABLE} >= {State.ACCEPTING, State.RENEWING}
