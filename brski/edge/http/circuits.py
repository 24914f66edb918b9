"""What a client knows of its servers' silence; the first ones are forgotten if they are many."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from random import SystemRandom
from typing import Final, TypeAlias

from brski.edge.http.circuit import Circuit
from brski.errors import Unavailable

_REMEMBERED: Final = 256  # ours: manufacturers have few
_DICE: Final = SystemRandom()

_Server: TypeAlias = tuple[str, int]


class Circuits:
    """A client's, one for each server.

    Args:
        watched: hosts and ports that matter also while nobody needs them; few.
    """

    def __init__(self, watched: Collection[_Server] = ()) -> None:
        self._watched = {server: _circuit(*server, watched=True) for server in watched}
        self._known: OrderedDict[_Server, Circuit] = OrderedDict()

    def given_up(self) -> list[Circuit]:
        """Those servers that are sent nothing now, and are watched or were needed lately."""
        return [circuit for _, circuit in self._all() if circuit.is_open]

    def wanting_trial(self) -> list[_Server]:
        """Those that it is time to look at: given up, or watched and idle."""
        return [server for server, circuit in self._all() if circuit.wants_trial]

    @contextmanager
    def request(self, host: str, port: int, *, is_probe: bool = False) -> Iterator[Circuit]:
        """Around one request; within it, the circuit is told of an answer or a connection.

        Args:
            is_probe: it is ours alone, for nobody who needs the server.

        Raises:
            Unavailable: the server has been given up.
        """
        circuit = self._of(host, port)
        circuit.enter(is_probe=is_probe)
        try:
            yield circuit
        except Unavailable as err:
            circuit.failed(err.reason, is_probe=is_probe)
            raise
        except BaseException:  # somebody was there, may not be asked, or nobody waits any longer
            circuit.left()
            raise

    def _all(self) -> list[tuple[_Server, Circuit]]:
        for server in [each for each, circuit in self._known.items() if circuit.is_forgotten]:
            del self._known[server]
        return [*self._watched.items(), *self._known.items()]

    def _of(self, host: str, port: int) -> Circuit:
        circuit = self._watched.get((host, port)) or self._known.get((host, port))
        if circuit is None:
            circuit = self._known[host, port] = _circuit(host, port)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return circuit


def _circuit(host: str, port: int, *, watched: bool = False) -> Circuit:
    return Circuit(f"{host}:{port}", clock=time.monotonic, draw=_DICE.random, watched=watched)
