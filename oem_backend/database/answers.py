"""What the factory answered to demands: bundles that lie in a folder, loaded one by one.

As ``brski-oem database load --late``: an answer adds the device that nothing newer speaks of
(docs/on-demand.md, section 4).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import file_error
from brski.errors import PeerError, Refused
from brski.pki.signer import PublicKey
from oem_backend.database.loader import load_bundle
from oem_backend.database.port import Place

log = logging.getLogger(__name__)

_PATTERN: Final = "[0-9a-f]*.bundle"
_REFUSED: Final = ".refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenAnswer:
    """One bundle that is no longer there under its name."""

    name: str
    outcome: str  # "loaded", "already-loaded" or "refused"
    reason: str = ""


def load_answers(
    database: Place | Path, folder: Path, factories: Mapping[str, PublicKey], *, now: datetime
) -> Iterator[TakenAnswer]:
    """Load every bundle that lies in *folder*: loaded ones are removed, refused ones renamed.

    Args:
        database: made when missing.
        factories: whose bundles are taken.
        now: aware; remembered as the time of loading.

    Raises:
        Unavailable: locked, full or failing disk; the bundle stays where it is.
        StateError, FileUnusable: *database* or *folder*.
    """
    for path in sorted(folder.glob(_PATTERN)):
        answer = _load(database, path, factories, now)
        log.log(
            logging.WARNING if answer.reason else logging.INFO,
            "answer to a demand",
            extra={"bundle": answer.name, "outcome": answer.outcome, "reason": answer.reason},
        )
        yield answer


def _load(
    database: Place | Path, path: Path, factories: Mapping[str, PublicKey], now: datetime
) -> TakenAnswer:
    try:
        with path.open("rb") as stream:
            report = load_bundle(database, stream, factories, now=now, late=True)
        path.unlink()
    except (PeerError, Refused) as err:
        path.rename(path.with_name(path.name + _REFUSED))
        return TakenAnswer(name=path.name, outcome="refused", reason=str(err))
    except OSError as err:
        raise file_error(err, path, "read") from err
    return TakenAnswer(name=path.name, outcome=report.outcome.value)
