"""How many signature verifications one message may cost: counted where they are made.

A stranger chooses how many certificates, signers and candidate issuers its message has. Each parser
bounds its own; what bounds their sum is this counter, on which :mod:`brski.pki.signatures`, path
validation and a CSR's proof of possession draw. Whoever takes a peer's message opens one with
:func:`counted`; outside of one, as in a factory with its own files, nothing is counted.

The counter follows the call through a context variable instead of through every signature between:
a check that is added later is then counted, too, without having to be told.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from brski.errors import TooLarge

VERIFICATIONS_LIMIT: Final = 10  # ours: for one message; an onboarding's dearest needs seven


class Effort:
    """Verifications of one message: how many there were, and how many there may be."""

    __slots__ = ("most", "spent")

    def __init__(self, most: int) -> None:
        self.most: int | None = most  # None once the message has been dealt with
        self.spent = 0


_P = ParamSpec("_P")
_T = TypeVar("_T")

_effort: Final[ContextVar[Effort | None]] = ContextVar("brski_effort", default=None)


class counted:  # noqa: N801 - used as a function is
    """Count the verifications made inside ``with counted():``, and let no more than *most* be made.

    Inside another such block that one's counter goes on counting. Tasks started inside share the
    counter until the block ends, and are free from then on. Also a decorator: each call of the
    function is such a block. A class, since a generator costs each request twice as much.

    Args:
        most: of signature verifications, cryptographic ones, however they turn out.
    """

    __slots__ = ("_most", "_opened")

    def __init__(self, most: int = VERIFICATIONS_LIMIT) -> None:
        self._most = most
        self._opened: tuple[Effort, Token[Effort | None]] | None = None

    def __enter__(self) -> Effort:
        outer = _effort.get()
        if outer is not None and outer.most is not None:
            return outer
        effort = Effort(self._most)
        self._opened = effort, _effort.set(effort)
        return effort

    def __exit__(self, *_: object) -> None:
        if self._opened is None:
            return
        effort, token = self._opened
        effort.most = None
        _effort.reset(token)

    def __call__(self, function: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with counted(self._most):
                return function(*args, **kwargs)

        return call


def spend(verifications: int = 1) -> None:
    """Say that so many signature verifications are about to be made.

    Raises:
        TooLarge: they would be more than the message may cost.
    """
    effort = _effort.get()
    if effort is None or effort.most is None:
        return
    if effort.spent + verifications > effort.most:
        raise TooLarge(f"one message that asks for more than {effort.most} signature verifications")
    effort.spent += verifications
