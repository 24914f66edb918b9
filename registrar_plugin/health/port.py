"""What a part of the registrar may say of itself."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Checkable(Protocol):
    """An ability that not every adapter has: to say whether it could do its work now."""

    async def check(self) -> None:
        """Raise unless it could.

        Cheap, and it sends nothing to a server that nothing is known against.

        Raises:
            OnboardingError: why not; the reason names no device.
        """
