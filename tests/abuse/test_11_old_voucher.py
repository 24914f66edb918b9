"""Abuse case 11: a pledge is given an old voucher, or one that is good for ever.

Another nonce: refused, the status report says so without detail, no certificate is asked for. None
although one was sent: refused, too, unless the device's settings allow it; then its end must be
in the future by the device's clock.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher_request
from device_client.pledge.policy import Policy
from device_client.pledge.states import Answer, Result
from tests.integration.pledge_desk import WORLD, Desk, desk, registrar
from tests.kit import pki
from tests.kit.stub_registrar import Script, StubRegistrar

__all__ = ["desk", "registrar"]

NONCELESS: dict[str, Any] = {"nonce": None, "expires_on": pki.NOW + timedelta(days=1)}
ENDED: dict[str, Any] = {"nonce": None, "expires_on": pki.NOW - timedelta(days=1)}


def vouched(**changes: Any) -> Script:
    """A voucher of the right MASA for the right device and domain, but for *changes*."""

    def answer(body: bytes) -> Answer:
        return WORLD.voucher_answer(decode_voucher_request(CMS.open(body).payload), **changes)

    return answer


def reset(desk: Desk) -> Desk:
    """The same device, with an empty keystore."""
    folder = desk.directory / "reset"
    folder.mkdir()
    return Desk(folder)


async def refused(desk: Desk, registrar: StubRegistrar, **settings: Any) -> str:
    """The code of the refusal; nothing but a status report followed it."""
    async with registrar.serving():
        outcome = await desk.onboard(registrar, **settings)
    assert outcome.result is Result.REFUSED
    assert registrar.paths() == ["requestvoucher", "voucher_status"]
    said = registrar.heard[-1].body
    assert b'"status":false' in said
    assert b"reason" in said
    assert b"nonce" not in said
    return outcome.code


@pytest.mark.requirement("SEC-3")
async def test_voucher_of_an_earlier_run(desk: Desk, registrar: StubRegistrar) -> None:
    """The very octets that were accepted once, before the device was reset."""
    kept: list[Answer] = []

    def keep(body: bytes) -> Answer:
        kept.append(vouched()(body))  # type: ignore[arg-type]  # no awaitable
        return kept[0]

    registrar.script("requestvoucher", keep)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    registrar.heard.clear()
    registrar.script("requestvoucher", kept[0])
    other = reset(desk)
    assert await refused(other, registrar) == "nonce-mismatch"


@pytest.mark.parametrize("changes", [NONCELESS, ENDED], ids=["good", "ended"])
async def test_without_a_nonce(
    desk: Desk, registrar: StubRegistrar, changes: dict[str, Any]
) -> None:
    """One was sent, so one is wanted."""
    registrar.script("requestvoucher", vouched(**changes))
    assert await refused(desk, registrar) == "nonce-mismatch"


async def test_without_a_nonce_where_it_is_allowed(desk: Desk, registrar: StubRegistrar) -> None:
    """RFC 8995 §7.2: accepted as long as it has not ended; afterwards it is not."""
    policy = Policy(allow_nonceless=True)
    registrar.script("requestvoucher", vouched(**NONCELESS))
    async with registrar.serving():
        outcome = await desk.onboard(registrar, policy=policy)
    assert outcome.result is Result.ENROLLED
    registrar.heard.clear()
    registrar.script("requestvoucher", vouched(**ENDED))
    other = reset(desk)
    assert await refused(other, registrar, policy=policy) == "voucher-expired"
