"""Cases of path validation in the JSON format of x509-limbo (version 1), read and written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LimboCase:
    """One question and its right answer; certificates are PEM, one a string."""

    id: str
    description: str
    peer: str
    intermediates: tuple[str, ...]
    trusted: tuple[str, ...]
    at: datetime | None  # None: now
    succeeds: bool
    kind: str = "CLIENT"  # what is validated; limbo's other kind is SERVER
    features: tuple[str, ...] = ()
    usages: tuple[str, ...] = ()  # extended ones that the peer must have
    depth: int | None = None


def load(path: Path) -> tuple[LimboCase, ...]:
    """The cases of a ``limbo.json``.

    Raises:
        ValueError: another version of the format.
    """
    document = json.loads(path.read_text("utf-8"))
    if document["version"] != 1:
        raise ValueError(f"{path}: version {document['version']}, 1 is read")
    return tuple(_read(case) for case in document["testcases"])


def _read(case: dict[str, Any]) -> LimboCase:
    at = case["validation_time"]
    return LimboCase(
        id=case["id"],
        description=case["description"],
        peer=case["peer_certificate"],
        intermediates=tuple(case["untrusted_intermediates"]),
        trusted=tuple(case["trusted_certs"]),
        at=datetime.fromisoformat(at).astimezone(UTC) if at else None,
        succeeds=case["expected_result"] == "SUCCESS",
        kind=case["validation_kind"],
        features=tuple(case["features"]),
        usages=tuple(case["extended_key_usage"]),
        depth=case["max_chain_depth"],
    )


def dump(cases: tuple[LimboCase, ...]) -> str:
    """The octets of a ``limbo.json`` with *cases*, one member a line."""
    document = {"version": 1, "testcases": [_written(case) for case in cases]}
    return json.dumps(document, indent=1) + "\n"


def _written(case: LimboCase) -> dict[str, Any]:
    return {
        "id": case.id,
        "conflicts_with": [],
        "features": list(case.features),
        "importance": "undetermined",
        "description": case.description,
        "validation_kind": case.kind,
        "trusted_certs": list(case.trusted),
        "untrusted_intermediates": list(case.intermediates),
        "peer_certificate": case.peer,
        "peer_certificate_key": None,
        "validation_time": case.at.isoformat(timespec="seconds") if case.at else None,
        "signature_algorithms": [],
        "key_usage": [],
        "extended_key_usage": list(case.usages),
        "expected_result": "SUCCESS" if case.succeeds else "FAILURE",
        "expected_peer_name": None,
        "expected_peer_names": [],
        "max_chain_depth": case.depth,
    }
