"""The settings of a directory that is in no SQLite file; imports no engine."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from brski.edge.settings import ExistingFile, Settings


class EngineSettings(Settings):
    """A table ``engine`` with ``kind = "postgresql"``."""

    kind: Literal["postgresql"]
    url: str = Field(pattern=r"^postgres(ql)?://")  # without a password
    password_file: ExistingFile | None = None  # one line, 0600
    pool: int = Field(default=8, ge=1, le=64)  # connections of a program that serves

    @field_validator("url")
    @classmethod
    def _without_password(cls, url: str) -> str:
        if urlsplit(url).password is not None:
            raise ValueError("a password stands in a file of its own: password_file")
        return url
