"""The pledge over real TLS: the disk, and the log."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from brski.errors import StateError, Unavailable
from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher_request
from device_client.keystore.files import FileKeystore
from device_client.pledge.policy import Policy
from device_client.pledge.states import (
    Answer,
    Enrollment,
    Result,
)
from tests.integration.pledge_desk import WORLD, Desk, desk, registrar
from tests.kit.stub_registrar import StubRegistrar

__all__ = ["desk", "registrar"]


async def test_a_full_disk_is_told_and_raised(
    desk: Desk, registrar: StubRegistrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registrar hears that it failed, not why; the person hears why."""

    class Unwritable(FileKeystore):
        def keep_enrollment(self, enrollment: Enrollment) -> None:
            raise StateError("/var/lib/device: damaged")

    async with registrar.serving():
        with pytest.raises(StateError, match="damaged"):
            await desk.onboard(registrar, keystore=Unwritable(desk.keystore.directory))
    assert registrar.paths()[-1] == "enrollstatus"
    assert b"could not keep" in registrar.heard[-1].body
    assert b"/var" not in registrar.heard[-1].body


async def test_nothing_secret_is_logged(
    desk: Desk, registrar: StubRegistrar, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps and the end are; keys, vouchers and nonces are not."""
    caplog.set_level(logging.DEBUG)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    text = "\n".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records)
    assert "onboarding step" in text
    assert "enrolled" in text
    key = (desk.keystore.directory / "current" / "ldevid-key.pem").read_text().splitlines()
    request = decode_voucher_request(CMS.open(outcome.artifacts.pledge_voucher_request).payload)
    assert request.nonce is not None
    secrets = [*key[1:-1], request.nonce, bytes(range(32)).hex(), outcome.artifacts.voucher.hex()]
    assert not [secret for secret in secrets if secret in text]


async def test_policy_reaches_the_decision(desk: Desk, registrar: StubRegistrar) -> None:
    """What the settings say is what is done."""

    def nonceless(body: bytes) -> Answer:
        request = decode_voucher_request(CMS.open(body).payload)
        return WORLD.voucher_answer(request, nonce=None)

    registrar.script("requestvoucher", nonceless, nonceless)
    async with registrar.serving():
        assert (await desk.onboard(registrar)).code == "nonce-mismatch"
        outcome = await desk.onboard(registrar, policy=Policy(allow_nonceless=True))
    assert outcome.result is Result.ENROLLED


async def test_a_report_that_could_not_be_noted_is_made_again(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """The registrar hears it twice, which harms nobody."""

    class Forgetful(FileKeystore):
        def keep_reported(self) -> None:
            raise Unavailable("the disk is full")

    async with registrar.serving():
        outcome = await desk.onboard(registrar, keystore=Forgetful(desk.keystore.directory))
        assert outcome.reported
        assert (await desk.onboard(registrar)).code == "enrolled"
    assert registrar.paths().count("enrollstatus") == 2


@pytest.mark.requirement("PL-4")
async def test_too_long_a_chain_is_refused(desk: Desk) -> None:
    """Before any of it is looked at."""
    long = replace(WORLD.registrar, issuers=(WORLD.owner.certificate,) * 10)
    registrar = StubRegistrar(WORLD, certificate=long)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert (outcome.result, outcome.code) == (Result.REFUSED, "too-large")
    assert registrar.heard == []
