"""Several things at once, none of which outlives the failure of another."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")
U = TypeVar("U")


@overload
async def together(
    one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, U], /
) -> tuple[T, U]: ...
@overload
async def together(*doing: Coroutine[Any, Any, T]) -> tuple[T, ...]: ...


async def together(*doing: Coroutine[Any, Any, Any]) -> tuple[Any, ...]:
    """Do all of it at once; the results in the same order.

    Where one fails, the others are cancelled and waited for before its error is raised, so that
    none starts a process that nobody ends.
    """
    tasks = [asyncio.ensure_future(each) for each in doing]
    try:
        return tuple(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
