"""Targets: what is not a parser of strangers' octets, but reads whatever a person gives it."""

from __future__ import annotations

import json
from typing import Final

from brski_lab.inspecting.inspection import inspect
from tests.fuzz.harness import Target


def _inspect(data: bytes) -> None:
    inspection = inspect(data, size=len(data))
    assert inspection.artifacts
    for described in inspection.artifacts:
        assert described.stop is None or 0 <= described.stop.offset <= len(data)
    json.dumps(inspection.as_document())


TOOLS: Final = (Target(name="inspect", run=_inspect),)
