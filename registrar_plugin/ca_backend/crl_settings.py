"""The tables ``[crl]`` and ``[est.profile.crl]`` of the registrar's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from brski.edge.settings import Listen, Settings


class CRLSettings(Settings):
    """Where a CA's revocation list is, and how long one lasts."""

    path: str = Field(default="/crl", pattern=r"^/[A-Za-z0-9._/-]+$")  # on every listener
    listen: Listen | None = None  # plain HTTP, besides
    file: Path | None = None  # PEM if its name ends so, else DER
    validity_h: int = Field(default=168, ge=1, le=8_784)
    superseded: bool = False
