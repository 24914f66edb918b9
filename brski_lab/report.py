"""What a person sees: a timeline while it happens, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from brski_lab.story import ENROLLED, Story
from device_client.outcome import Step
from device_client.pledge.states import StepStatus

_MOST_ROWS: Final = 20
_STYLES: Final = {
    StepStatus.OK: "green",
    StepStatus.REFUSED: "yellow",
    StepStatus.FAILED: "red",
}


class Timeline:
    """Prints each thing as it happens, with the seconds since the start."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(highlight=False)
        self._quiet = quiet
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def tell(self, device: str, headline: str, step: Step | None) -> None:
        """One line: of a device and a step of it, or of everybody."""
        if self._quiet:
            return
        line = Text(f"{time.monotonic() - self._began:6.2f} s  ")
        if step is None:
            line.append(f"{device}  {headline}" if device else headline, "bold")
        else:
            line.append(f"  {step.name.value:16} ")
            line.append(f"{step.status.value:8}", _STYLES[step.status])
            line.append(f"{step.ms:7.1f} ms")
            if step.detail and step.status is not StepStatus.OK:
                line.append(f"  {step.detail}", "dim")
        self._console.print(line, soft_wrap=True)


def print_closing(stories: Sequence[Story], keep: Path | None) -> None:
    """The table at the end."""
    table = Table(title="\nWhat became of them", title_justify="left")
    table.add_column("device", no_wrap=True)
    table.add_column("identity")
    table.add_column("its key", no_wrap=True)
    table.add_column("outcome")
    table.add_column("the registrar's journal says", overflow="fold")
    for story in stories[:_MOST_ROWS]:
        mark = "green" if story.outcome == ENROLLED else "yellow"
        name = story.part.serial_number + ("" if story.part.genuine else " ?")
        table.add_row(
            name,
            story.part.presentation.value,
            f"{story.part.device}\n{story.part.batch.profile}",
            Text(story.outcome, mark if story.as_told else "red"),
            Text(story.reason),
        )
    console = Console(highlight=False)
    console.print(table)
    if len(stories) > _MOST_ROWS:
        enrolled = sum(story.outcome == ENROLLED for story in stories)
        console.print(f"and {len(stories) - _MOST_ROWS} more; {enrolled} enrolled in all")
    if keep is not None:
        console.print(f"artifacts: {keep}")
    wrong = [story for story in stories if not story.as_told]
    for story in wrong:
        console.print(
            f"{story.part.serial_number} should have ended {story.part.expected}", style="red"
        )


def as_document(stories: Sequence[Story], keep: Path | None) -> dict[str, object]:
    """The document of ``--json``."""
    return {
        "pledges": [
            {
                "serial_number": story.part.serial_number,
                "identity": story.part.presentation.value,
                "device": story.part.device,
                "profile": story.part.batch.profile,
                "outcome": story.outcome,
                "reason": story.reason,
                "steps": [
                    {
                        "name": step.name.value,
                        "status": step.status.value,
                        "ms": round(step.ms, 3),
                    }
                    for step in story.steps
                ],
            }
            for story in stories
        ],
        "artifacts": None if keep is None else str(keep),
    }
