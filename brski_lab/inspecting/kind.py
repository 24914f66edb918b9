"""The port of the kinds of artifacts: tell one by its content, and describe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of artifact."""

    name: str
    recognises: Callable[[Content], bool]  # by what is in it, however broken the rest may be
    describe: Callable[[Content], Description]
