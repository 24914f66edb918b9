"""A device renews its LDevID at the registrar's own program; also when answers are lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from brski.idevid.record import Presentation
from brski.pki.keys import certificate_der, spki_of
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import Stage, set_stage
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.outcome import Outcome
from device_client.pledge.origin import Origin
from device_client.pledge.states import Result
from device_client.renew import renew
from tests.kit.kill import Step
from tests.kit.staged import ISSUANCES, JOURNAL, join, registrar, rows

SERIAL_NUMBER = "SN-0001"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Everybody but the registrar is up."""
    async with Children(tmp_path / "logs") as children:
        device = Ordered(serial_number=SERIAL_NUMBER, presentation=Presentation.ASSERTED)
        stage = await set_stage(tmp_path, children, [device])
        await children.end("brski-registrar")
        yield stage


async def again(stage: Stage, origin: Origin, *, rekey: bool) -> Outcome:
    return await renew(
        SeedIdentity(load_fuse(stage.fuse_path(SERIAL_NUMBER))),
        keystore(stage),
        rekey=rekey,
        registrar=origin,
    )


def keystore(stage: Stage) -> FileKeystore:
    return FileKeystore(stage.keystore_path(SERIAL_NUMBER))


def ldevid(stage: Stage) -> x509.Certificate:
    return keystore(stage).ldevid().chain[0]


def certificates(stage: Stage, state: str) -> set[bytes]:
    query = "SELECT certificate FROM certificates WHERE state = ?"
    return {octets for (octets,) in rows(stage.folder / "registrar.db", query, state)}


@pytest.mark.slow
@pytest.mark.requirement("ESTC-8")
async def test_renew_and_rekey(stage: Stage) -> None:
    """One active LDevID after each, which is the one that the device holds."""
    async with registrar(stage) as origin:
        assert (await join(stage, SERIAL_NUMBER, origin)).result is Result.ENROLLED
        first = ldevid(stage)
        outcome = await again(stage, origin, rekey=False)
        assert (outcome.code, outcome.reported) == ("renewed", True), outcome.reason
        second = ldevid(stage)
        outcome = await again(stage, origin, rekey=True)
        assert (outcome.code, outcome.reported) == ("renewed", True), outcome.reason
        third = ldevid(stage)
    assert first.subject == second.subject == third.subject
    assert spki_of(first) == spki_of(second) != spki_of(third)
    assert certificates(stage, "active") == {certificate_der(third)}
    assert certificates(stage, "superseded") == set(map(certificate_der, (first, second)))


@pytest.mark.slow
@pytest.mark.requirement("ESTS-13", "ESTS-20")
async def test_where_requests_are_linked_to_their_connection(stage: Stage) -> None:
    """The device is told by csrattrs, and puts the binding into its first request and the next."""
    with stage.registrar_settings.open("a") as settings:
        settings.write("\n[[est.profile]]\nchannel_binding = true\n")
    async with registrar(stage) as origin:
        assert (await join(stage, SERIAL_NUMBER, origin)).result is Result.ENROLLED
        first = ldevid(stage)
        outcome = await again(stage, origin, rekey=True)
        assert (outcome.code, outcome.reported) == ("renewed", True), outcome.reason
    assert spki_of(ldevid(stage)) != spki_of(first)
    kept = rows(stage.folder / "registrar.db", "SELECT details FROM events WHERE kind = 'alarm'")
    assert kept == []


@pytest.mark.slow
@pytest.mark.requirement("ESTC-5", "ESTC-8")
@pytest.mark.parametrize("rekey", [False, True], ids=["renew", "rekey"])
@pytest.mark.parametrize("step", ["intend", "complete_ldevid", "record"])
async def test_an_answer_that_was_lost_is_had_again(stage: Stage, step: str, rekey: bool) -> None:
    """The registrar is killed right after the step; for it the former LDevID may be superseded, for
    the device it is all there is. The same CSR brings the one that was issued.
    """
    async with registrar(stage) as origin:
        assert (await join(stage, SERIAL_NUMBER, origin)).result is Result.ENROLLED
    former = ldevid(stage)
    place = ISSUANCES if step == "intend" else JOURNAL
    async with registrar(stage, Step(place, step, "after")) as origin:
        cut_off = await again(stage, origin, rekey=rekey)
    if step == "record":
        assert cut_off.code == "renewed-unreported"
        issued = {certificate_der(ldevid(stage))}
    else:
        assert cut_off.result is Result.RETRY
        assert ldevid(stage) == former
        issued = certificates(stage, "active") - {certificate_der(former)}
    async with registrar(stage) as origin:
        ended = await again(stage, origin, rekey=rekey)
    assert ended.code == "renewed"
    active = certificates(stage, "active")
    assert active == {certificate_der(ldevid(stage))}
    if step == "complete_ldevid":
        assert active == issued
    assert certificate_der(former) in certificates(stage, "superseded")
