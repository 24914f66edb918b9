"""What a part of the registrar may say of itself."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Checkable(Protocol):
    """An ability that not every adapter has: to say whether it could do its work now."""

    async def check(self) -> str | None:
        """Raise unless it could.

        Cheap: it may be asked each second. A server that nothing is known against is sent no
        request.

        Returns:
            One line on what will keep it from its work if nobody looks; None if nothing will.

        Raises:
            OnboardingError: why not; the reason names no device.
        """
