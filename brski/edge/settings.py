"""Reading a program's settings: one TOML file, all faults told at once.

Each role derives its models from :class:`Settings`. Nothing here knows a role, a network or a
default path; the environment is not looked at.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from brski.edge.atomic_file import read_file
from brski.edge.listen import parse_listen
from brski.errors import FileUnusable, SettingsError

_FILE_LIMIT: Final = 1024 * 1024


class Settings(BaseModel):
    """A table of a settings file: frozen, and unknown keys are faults.

    A field of type :class:`~pathlib.Path` (also inside a tuple or a mapping) that is relative is
    counted from the settings file's folder, its default too.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    @field_validator("*", mode="after")
    @classmethod
    def _count_paths_from_the_file(cls, value: Any, info: ValidationInfo) -> Any:
        return _resolved(value, _base(info))


def _existing_file(value: Path, info: ValidationInfo) -> Path:
    resolved: Path = _resolved(value, _base(info))
    if not resolved.is_file():
        raise ValueError(f"no file at {resolved}")
    return resolved


def _listen(value: str) -> str:
    parse_listen(value)
    return value


ExistingFile = Annotated[Path, AfterValidator(_existing_file)]
"""A path, counted from the settings file, at which there is a file now."""

Listen = Annotated[str, AfterValidator(_listen)]
"""Where a server listens: ``"host:port"`` or ``"fd:N"``; see :mod:`brski.edge.listen`."""

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
"""A time-out or period, in seconds."""

ModelT = TypeVar("ModelT", bound=Settings)


def load_settings(path: Path, model: type[ModelT]) -> ModelT:
    """Read *path* into *model*.

    Args:
        path: a TOML 1.0 file in UTF-8.
        model: what it must fit.

    Raises:
        SettingsError: the file is missing or not TOML, or does not fit; then the reason lists each
            fault with its dotted path (``masa.listen``, ``manufacturer.0.anchors``).
    """
    try:
        text = read_file(path, max_octets=_FILE_LIMIT).decode("utf-8")
        document = tomllib.loads(text)
    except FileUnusable as err:
        raise SettingsError(err.reason, hint="conf/ has a commented file for each program") from err
    except UnicodeDecodeError as err:
        raise SettingsError(f"{path} is not UTF-8 at octet {err.start}") from err
    except tomllib.TOMLDecodeError as err:
        raise SettingsError(f"{path} is not TOML: {err}") from err
    return read_settings(document, model, source=path)


def read_settings(document: dict[str, Any], model: type[ModelT], *, source: Path) -> ModelT:
    """Fit an already parsed document; *source* gives relative paths their folder.

    Raises:
        SettingsError: as :func:`load_settings`.
    """
    base = source.absolute().parent
    try:
        return model.model_validate(document, context={"base": base})
    except ValidationError as err:
        faults = [_fault(detail) for detail in err.errors(include_url=False, include_context=False)]
    if len(faults) == 1:
        raise SettingsError(f"{source}: {faults[0]}")
    raise SettingsError(f"{source} has {len(faults)} faults:\n  " + "\n  ".join(faults))


def _fault(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "file"
    match detail["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key"
        case "missing":
            return f"{where}: missing"
        case "value_error":
            return f"{where}: {detail['msg'].removeprefix('Value error, ')}"
    message = str(detail["msg"])
    return f"{where}: {message[:1].lower()}{message[1:]}{_shown(detail.get('input'))}"


def _shown(value: object) -> str:
    if isinstance(value, str | int | float | bool) and len(text := repr(value)) <= 80:
        return f", not {text}"
    return ""


def _base(info: ValidationInfo) -> Path | None:
    return info.context.get("base") if isinstance(info.context, dict) else None


def _resolved(value: Any, base: Path | None) -> Any:
    """*value* with each path in it made absolute; as it is when there is no file to count from."""
    if base is None:
        return value
    match value:
        case Path():
            return base / value
        case tuple() if type(value) is tuple:
            return tuple(_resolved(item, base) for item in value)
        case list():
            return [_resolved(item, base) for item in value]
        case dict():
            return {key: _resolved(item, base) for key, item in value.items()}
    return value
