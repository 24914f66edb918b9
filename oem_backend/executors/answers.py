"""How a worker's answer crosses a border: what was done, or what an error of ours says of itself.

Of an error that nobody foresaw the type alone crosses: its message could hold what must not leave.
"""

from __future__ import annotations

from typing import Final

from brski import errors
from brski.errors import OnboardingError, TooManyRequests, Unavailable
from brski.idevid import fields
from brski.pki import cbor
from oem_backend.executors.port import Task

_DONE: Final = b"\x01"  # the task's answer follows
_FAILED: Final = b"\x00"  # CBOR follows: type, reason and hint; no type where nobody foresaw it

_OURS: Final = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type)
    and issubclass(kind, OnboardingError)
    and not issubclass(kind, TooManyRequests)  # wants more than a reason; no worker counts
}


def answer(task: Task, job: bytes) -> bytes:
    """Do *task* on *job* here, whatever comes of it.

    Returns:
        For :func:`parse_answer`; at least one octet.
    """
    try:
        return _DONE + task(job)
    except OnboardingError as err:
        return _FAILED + cbor.encode([type(err).__name__, err.reason, err.hint])
    except BaseException as err:  # the last resort of a process that holds seeds
        return _FAILED + cbor.encode(["", type(err).__name__, ""])


def parse_answer(octets: bytes) -> bytes:
    """What the task answered.

    Raises:
        OnboardingError: what the task raised, by type, reason and hint.
        Unavailable: it failed in another way.
        Malformed: no answer of a worker of ours.
    """
    if octets[:1] == _DONE:
        return octets[1:]
    items = fields.take_array(cbor.decode(octets[1:]), "a worker's error", least=3, most=3)
    name, reason, hint = (fields.take_text(item, "a worker's error") for item in items)
    kind = _OURS.get(name)
    if kind is None:
        raise Unavailable(f"a worker failed: {name or reason}")
    raise kind(reason, hint=hint)
