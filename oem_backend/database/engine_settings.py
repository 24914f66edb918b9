"""The settings of a directory that is in no SQLite file; imports no engine."""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from brski.edge.settings import ExistingFile, Settings

_SECRETS: Final = frozenset({"password", "sslpassword"})  # that a URL's query could carry


class EngineSettings(Settings):
    """A table ``engine`` with ``kind = "postgresql"``."""

    kind: Literal["postgresql"]
    url: str  # postgresql://, without a password
    password_file: ExistingFile | None = None  # one line, 0600
    pool: int = Field(default=8, ge=1, le=64)  # connections of a program that serves

    @field_validator("url")
    @classmethod
    def _without_password(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            _ = parts.port  # a number, and one that there is
        except ValueError:  # no message of ours shows what is in the URL: it may be a password
            raise ValueError("not a URL") from None
        if parts.scheme not in {"postgresql", "postgres"}:
            raise ValueError("not a postgresql:// URL")
        if parts.password is not None or _SECRETS & dict(parse_qsl(parts.query)).keys():
            raise ValueError("a password stands in a file of its own: password_file")
        return url
