"""The demo: a stage, its cast, and what became of each of them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from brski.edge.signers.file import load_chain
from brski.errors import FileUnusable
from brski.idevid.record import Presentation
from brski.seed.secret import LEAST_SEED_OCTETS, Seed
from brski_lab.children import Children
from brski_lab.diagram import draw
from brski_lab.keep import keep_artifacts
from brski_lab.stage import PROFILE, Ordered, Stage, set_stage
from brski_lab.story import ENROLLED, REFUSED, Part, Story
from device_client.identity.from_seed import Fuse, SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.onboard import Step, World, onboard
from device_client.pledge.origin import Origin
from device_client.pledge.states import Result
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.telemetry.events import Event, Outcome

Tell: TypeAlias = Callable[[str, str, Step | None], None]

AT_ONCE: Final = 32  # pledges under way at the same time

CAST: Final = (
    Part(
        serial_number="SN-0001",
        presentation=Presentation.CARRIED,
        who="carries its IDevID certificate",
    ),
    Part(
        serial_number="SN-0002",
        presentation=Presentation.ASSERTED,
        who="only asserts its serial number",
    ),
    Part(
        serial_number="SN-0002",
        presentation=Presentation.ASSERTED,
        who="an impostor: asserts the same serial number with a key of its own",
        expected=REFUSED,
        expected_code="key-mismatch",
        genuine=False,
    ),
    Part(
        serial_number="SN-0BAD",
        presentation=Presentation.ASSERTED,
        who="asserts a serial number that the OEM does not know",
        expected=REFUSED,
        expected_code="device-unknown",
        genuine=False,
    ),
    Part(
        serial_number="SN-0003",
        presentation=Presentation.CARRIED,
        who="its MASA refuses it a voucher",
        expected=REFUSED,
        expected_code="voucher-refused",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What a person asked for."""

    pledges: int = 0
    keep: Path | None = None
    diagram: Path | None = None


async def run_demo(demo: Demo, tell: Tell) -> list[Story]:
    """Set the stage, let everybody try to join, and end every program.

    Args:
        tell: called with device, headline and step, as things happen.

    Raises:
        LocalError: the stage could not be set.
        FileUnusable: the folder to keep is not empty.
    """
    if demo.keep is not None:
        _make_empty(demo.keep)
    crowd = [_one_of_many(number) for number in range(demo.pledges)]
    cast = (*CAST, *crowd)
    with tempfile.TemporaryDirectory(prefix="brski-lab-") as name:
        async with _stage(Path(name), cast, tell) as stage:
            stories = await _play(stage, CAST, tell)
            stories += await _play_at_once(stage, crowd, tell)
            await _read_journal(stage, stories)
            if demo.keep is not None:
                keep_artifacts(demo.keep, stage, stories)
        if demo.diagram is not None:
            demo.diagram.write_text(draw(stories))
    return stories


def _one_of_many(number: int) -> Part:
    asserting = number % 2 == 1
    return Part(
        serial_number=f"SN-{0x1000 + number:04X}",
        presentation=Presentation.ASSERTED if asserting else Presentation.CARRIED,
        who="one of many",
    )


def _make_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileUnusable(f"{folder} is not empty", hint="name a new folder")


@contextlib.asynccontextmanager
async def _stage(folder: Path, cast: Sequence[Part], tell: Tell) -> AsyncIterator[Stage]:
    built = [
        Ordered(serial_number=part.serial_number, presentation=part.presentation)
        for part in cast
        if part.genuine
    ]
    async with Children(folder / "logs") as children:
        tell("", "the vendor mints seeds, the factory certifies, three servers start", None)
        stage = await set_stage(
            folder,
            children,
            built,
            refused=[p.serial_number for p in cast if p.expected_code == "voucher-refused"],
            expected=[p.serial_number for p in cast],
        )
        tell("", f"{len(built)} devices built; the registrar listens", None)
        yield stage


async def _play(stage: Stage, cast: Sequence[Part], tell: Tell) -> list[Story]:
    """One after the other, so that a person can follow."""
    return [await join(stage, part, tell) for part in cast]


async def _play_at_once(stage: Stage, crowd: Sequence[Part], tell: Tell) -> list[Story]:
    places = asyncio.Semaphore(AT_ONCE)

    async def play(part: Part) -> Story:
        async with places:
            return await join(stage, part, _silent)

    if crowd:
        tell("", f"{len(crowd)} more, {min(AT_ONCE, len(crowd))} at once", None)
    began = time.monotonic()
    stories = list(await asyncio.gather(*(play(part) for part in crowd)))
    if crowd:
        took = time.monotonic() - began
        done = sum(story.outcome == ENROLLED for story in stories)
        tell("", f"{done} of {len(crowd)} enrolled in {took:.1f} s", None)
    return stories


def _silent(_device: str, _headline: str, _step: Step | None) -> None:
    """Of a crowd only the sum is told."""


async def join(stage: Stage, part: Part, tell: Tell) -> Story:
    """Let one device try to join.

    Args:
        tell: as for :func:`run_demo`.
    """
    story = Story(part=part)
    tell(part.serial_number, part.who, None)

    def observe(step: Step) -> None:
        story.steps.append(step)
        tell(part.serial_number, "", step)

    ended = await onboard(
        SeedIdentity(_fuse_of(stage, part)),
        [Origin(host="127.0.0.1", port=stage.registrar_port)],
        FileKeystore(_keystore_of(stage, part)),
        world=World(observer=observe),
    )
    story.outcome = ENROLLED if ended.result is Result.ENROLLED else REFUSED
    story.told_pledge = ended.reason
    story.artifacts = ended.artifacts
    return story


def _keystore_of(stage: Stage, part: Part) -> Path:
    path = stage.keystore_path(part.serial_number)
    return path if part.genuine else path.with_name(path.name + "-impostor")


def _fuse_of(stage: Stage, part: Part) -> Fuse:
    if part.genuine:
        return load_fuse(stage.fuse_path(part.serial_number))
    genuine = load_fuse(stage.fuse_path("SN-0002"))
    return Fuse(
        seed=Seed(secrets.token_bytes(LEAST_SEED_OCTETS)),
        chip_id=secrets.token_bytes(8),
        serial_number=part.serial_number,
        idevid_issuer=genuine.idevid_issuer,
        derivation_profile=PROFILE,
        voucher_anchors=load_chain(stage.masa_anchor),
    )


async def _read_journal(stage: Stage, stories: Sequence[Story]) -> None:
    """What the operator knows: the reasons, and what the registrar signed and fetched."""
    journal = SQLiteJournal(stage.folder / "registrar.db")
    try:
        refusals = [
            event
            for event in await journal.events(limit=100_000)
            if event.outcome is Outcome.REFUSED
        ]
        for story in stories:
            if story.outcome == REFUSED:
                _explain(story, refusals)
            if story.part.genuine:
                for device in await journal.devices(story.part.serial_number):
                    onboarding = await journal.onboarding(device)
                    if onboarding is not None:
                        story.registrar_request = onboarding.registrar_request
                        story.idevid_chain = onboarding.idevid_chain
    finally:
        await journal.close()


def _explain(story: Story, refusals: Sequence[Event]) -> None:
    story.reason = story.told_pledge
    for event in reversed(refusals):
        named = event.device.serial_number if event.device else event.asserted_serial_number
        if named == story.part.serial_number:
            story.reason, story.code = event.reason, event.code
            return
