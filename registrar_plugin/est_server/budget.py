"""How often one EST client may ask for a certificate (429 otherwise); a flood costs others nothing.

Counted is the key that the client has proven in TLS, which many devices behind one address do not
share; a client without certificate counts by its address.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from brski.errors import TooManyRequests
from brski.pki.keys import spki_sha256
from brski.rates import Rate, TokenBuckets, subnet_of
from registrar_plugin.connection import PledgeConnection

USUAL: Final = Rate(per_s=5, burst=50)  # ours: a device needs a handful in its life


class ClientBudget:
    """Of one registrar.

    Args:
        clock: monotonic seconds.
        clients: how many are remembered; the one unheard of for longest starts anew.
    """

    def __init__(
        self, *, clock: Callable[[], float], rate: Rate = USUAL, clients: int = 4096
    ) -> None:
        self._clock = clock
        self._buckets = TokenBuckets(rate, remembered=clients)

    def take(self, connection: PledgeConnection) -> None:
        """Count one request, before its body is read.

        Raises:
            TooManyRequests: the client's budget is used up.
        """
        whose: bytes | str = subnet_of(connection.address)
        if connection.peer_chain:
            whose = spki_sha256(connection.leaf())
        if wait_s := self._buckets.take(whose, self._clock()):
            raise TooManyRequests(
                "too many certificate requests of this client", retry_after_s=math.ceil(wait_s)
            )
