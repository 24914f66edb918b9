"""The demo: a stage, its cast, and what became of each of them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from brski.errors import FileUnusable
from brski.seed.secret import LEAST_SEED_OCTETS, Seed
from brski_lab.building import Ordered
from brski_lab.cast import CAST, one_of_many
from brski_lab.children import Children
from brski_lab.devices.kinds import KINDS
from brski_lab.devices.port import Joining
from brski_lab.diagram import draw
from brski_lab.keep import keep_artifacts
from brski_lab.stage import Stage, set_stage
from brski_lab.story import ENROLLED, REFUSED, Part, Story
from brski_lab.together import together
from device_client.identity.from_seed import Fuse, load_fuse, write_fuse
from device_client.outcome import Step
from device_client.pledge.states import Result
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.telemetry.events import Event, Outcome

Tell: TypeAlias = Callable[[str, str, Step | None], None]
Play: TypeAlias = Callable[[Part, Tell], Coroutine[None, None, Story]]

_PATIENT_ROUNDS: Final = 20  # of a device whose certificate is being made; one is enough as a rule
AT_ONCE: Final = 32  # pledges under way at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What a person asked for."""

    pledges: int = 0
    keep: Path | None = None
    diagram: Path | None = None


async def run_demo(demo: Demo, tell: Tell, warn: Callable[[str], None]) -> list[Story]:
    """Set the stage, let everybody try to join, and end every program.

    Args:
        tell: called with device, headline and step, as things happen.
        warn: called with what cannot be shown on this machine, or not as it should be.

    Raises:
        LocalError: the stage could not be set.
        FileUnusable: the folder to keep is not empty.
    """
    if demo.keep is not None:
        _make_empty(demo.keep)
    cast = _who_can_be_shown(warn)
    crowd = [one_of_many(number) for number in range(demo.pledges)]
    with tempfile.TemporaryDirectory(prefix="brski-lab-") as name:
        async with _stage(Path(name), (*cast, *crowd), tell) as (stage, children):
            play = partial(join, stage, children)
            stories = await _play_in_turn(play, cast, tell)
            stories += await _play_at_once(play, crowd, tell)
            await _read_journal(stage, stories)
            if demo.keep is not None:
                keep_artifacts(demo.keep, stage, stories)
        if demo.diagram is not None:
            demo.diagram.write_text(draw(stories))
    return stories


def _who_can_be_shown(warn: Callable[[str], None]) -> list[Part]:
    lacking = {name: kind.missing() for name, kind in KINDS.items()}
    for name, kind in KINDS.items():
        if lacking[name]:
            warn(f"no {name} device: {lacking[name]}")
        elif remark := kind.remark():
            warn(f"{name} device: {remark}")
    return [part for part in CAST if not lacking[part.device]]


def _make_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileUnusable(f"{folder} is not empty", hint="name a new folder")


@contextlib.asynccontextmanager
async def _stage(
    folder: Path, cast: Sequence[Part], tell: Tell
) -> AsyncIterator[tuple[Stage, Children]]:
    built = [
        Ordered(
            serial_number=part.serial_number,
            presentation=part.presentation,
            batch=part.batch,
            on_demand=part.on_demand,
        )
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
        yield stage, children


async def _play_in_turn(play: Play, cast: Sequence[Part], tell: Tell) -> list[Story]:
    """One after the other, so that a person can follow.

    Who is told to come again does so meanwhile, and is told of when all others have joined.
    """
    later = {part: _Later() for part in cast if part.is_kept_waiting}
    begun = {part: asyncio.create_task(play(part, lines)) for part, lines in later.items()}
    try:
        stories = {part: await play(part, tell) for part in cast if part not in begun}
        for part, task in begun.items():
            stories[part] = await task
            later[part].tell(tell)
    finally:
        for task in begun.values():
            task.cancel()
        await asyncio.gather(*begun.values(), return_exceptions=True)
    return [stories[part] for part in cast]


class _Later:
    """Takes what happened, to be told at another time."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str, Step | None]] = []

    def __call__(self, device: str, headline: str, step: Step | None) -> None:
        self._lines.append((device, headline, step))

    def tell(self, tell: Tell) -> None:
        """All of it, in its order."""
        for line in self._lines:
            tell(*line)


async def _play_at_once(play: Play, crowd: Sequence[Part], tell: Tell) -> list[Story]:
    places = asyncio.Semaphore(AT_ONCE)

    async def play_silently(part: Part) -> Story:
        async with places:
            return await play(part, _silent)

    if crowd:
        tell("", f"{len(crowd)} more, {min(AT_ONCE, len(crowd))} at once", None)
    began = time.monotonic()
    stories = list(await together(*map(play_silently, crowd)))
    if crowd:
        took = time.monotonic() - began
        done = sum(story.outcome == ENROLLED for story in stories)
        tell("", f"{done} of {len(crowd)} enrolled in {took:.1f} s", None)
    return stories


def _silent(_device: str, _headline: str, _step: Step | None) -> None:
    """Of a crowd only the sum is told."""


async def join(stage: Stage, children: Children, part: Part, tell: Tell) -> Story:
    """Let one device try to join.

    Args:
        tell: as for :func:`run_demo`.
    """
    story = Story(part=part)
    tell(part.serial_number, f"{part.who} ({part.device}, {part.batch.profile})", None)

    def observe(step: Step) -> None:
        story.steps.append(step)
        tell(part.serial_number, "", step)

    ended = await KINDS[part.device].join(
        Joining(
            stage=stage,
            children=children,
            serial_number=part.serial_number,
            fuse=_fuse_of(stage, part),
            keystore=_keystore_of(stage, part),
            observe=observe,
            rounds=_PATIENT_ROUNDS if part.on_demand else 1,
        )
    )
    story.outcome = ENROLLED if ended.result is Result.ENROLLED else REFUSED
    story.told_pledge = ended.reason
    story.artifacts = ended.artifacts
    return story


def _keystore_of(stage: Stage, part: Part) -> Path:
    path = stage.keystore_path(part.serial_number)
    return path if part.genuine else path.with_name(path.name + "-impostor")


def _fuse_of(stage: Stage, part: Part) -> Path:
    path = stage.fuse_path(part.serial_number)
    if part.genuine:
        return path
    path = path.with_name(path.name + "-impostor")
    genuine = load_fuse(stage.fuse_path("SN-0002"))
    write_fuse(
        path,
        Fuse(
            seed=Seed(secrets.token_bytes(LEAST_SEED_OCTETS)),
            chip_id=secrets.token_bytes(8),
            serial_number=part.serial_number,
            idevid_issuer=genuine.idevid_issuer,
            derivation_profile=part.batch.profile,
            voucher_anchors=genuine.voucher_anchors,
        ),
    )
    return path


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
