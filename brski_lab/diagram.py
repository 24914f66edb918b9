"""A Mermaid sequence diagram of what happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from brski_lab.story import Story
from device_client.outcome import Step
from device_client.pledge.states import StepName, StepStatus

_MOST_STORIES: Final = 12

_ASKED: Final = {
    StepName.CONNECT: "TLS, provisional",
    StepName.VOUCHER_REQUEST: "requestvoucher",
    StepName.VOUCHER_STATUS: "voucher_status",
    StepName.CA_CERTS: "GET cacerts",
    StepName.CSR_ATTRS: "GET csrattrs",
    StepName.ENROLL: "simpleenroll",
    StepName.ENROLL_STATUS: "enrollstatus, over the LDevID",
}


def draw(stories: Sequence[Story]) -> str:
    """Mermaid text; of a crowd the first ones."""
    return "\n".join(("sequenceDiagram", *_lines(stories[:_MOST_STORIES]))) + "\n"


def _lines(stories: Sequence[Story]) -> Iterator[str]:
    names = {index: f"P{index}" for index in range(len(stories))}
    for index, story in enumerate(stories):
        suffix = "" if story.part.genuine else " (posing)"
        yield f"    participant {names[index]} as {story.part.serial_number}{suffix}"
    yield "    participant R as registrar"
    yield "    participant O as OEM database"
    yield "    participant M as MASA"
    for index, story in enumerate(stories):
        yield f"    Note over {names[index]},R: {_clean(story.part.who)}"
        for step in story.steps:
            yield from _step_lines(names[index], story, step)
        end = f"{story.outcome}: {story.code}" if story.code else story.outcome
        yield f"    Note over {names[index]}: {end}"


def _step_lines(name: str, story: Story, step: Step) -> Iterator[str]:
    asked = _ASKED.get(step.name)
    if asked is not None:
        yield f"    {name}->>R: {asked}"
    if step.name is StepName.VOUCHER_REQUEST:
        yield "    R->>O: who is it"
        if story.registrar_request is not None:
            yield "    R->>M: requestvoucher"
    if step.status is not StepStatus.OK:
        yield f"    R--x{name}: {_clean(step.detail or step.status.value)}"
    elif step.name is StepName.VOUCHER:
        yield f"    R-->>{name}: voucher"
    elif step.name is StepName.VOUCHER_STATUS:
        yield "    R->>M: requestauditlog"
    elif step.name is StepName.ENROLL:
        yield f"    R-->>{name}: LDevID"


def _clean(text: str) -> str:
    """Mermaid ends a line at a semicolon or a hash."""
    return text.replace(";", ",").replace("#", "").replace("\n", " ")
