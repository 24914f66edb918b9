"""Where every registrar's message comes in: how often, what it is, and whose.

What is asked for is not looked at here; that differs from endpoint to endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from brski.errors import PeerError, Refused, TooManyRequests, UnknownFormat
from brski.pki.keys import spki_sha256
from brski.voucher.comparisons import check_created_on
from brski.voucher.serialization import VoucherSerialization
from masa_stub.customers import Caller, Customer, Known, recognise
from masa_stub.ownership import Claimant
from masa_stub.rates import RegistrarRates
from masa_stub.registrar_request import RegistrarRequest, open_registrar_request


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A registrar's message that holds together, and whose registrar it is."""

    asked: RegistrarRequest
    serialization: VoucherSerialization
    known: Known
    now: datetime

    @property
    def claimant(self) -> Claimant:
        """The registrar, as far as ownership goes."""
        return Claimant(chain=self.asked.chain, customers=self.known.customers)


@dataclass(slots=True, kw_only=True)
class Visit:
    """One request, and how much of it is known so far."""

    caller: Caller
    domain: bytes | None = None  # SHA-256 of the SPKI of the registrar's CA, or of its own
    serial_number: str = ""


class Reception:
    """Takes messages in.

    Args:
        serializations: by media type.
        customers: whom the manufacturer knows by name.
        rates: how often one may ask; None: as often as it likes.
        clock: aware UTC.
    """

    def __init__(
        self,
        *,
        serializations: Mapping[str, VoucherSerialization],
        customers: Iterable[Customer],
        rates: RegistrarRates | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._serializations = serializations
        self._customers = customers
        self._rates = rates
        self._clock = clock

    @contextmanager
    def knock(self, address: str) -> Iterator[None]:
        """One request of *address*, whatever it is; a refusal of it counts.

        Raises:
            TooManyRequests: the address has had its share.
        """
        self._admit(address)
        with self._counting(lambda: address):
            yield

    @contextmanager
    def visit(self, caller: Caller) -> Iterator[Visit]:
        """One message of a registrar's; a refusal of it counts against its domain."""
        visit = Visit(caller=caller)
        with self._counting(lambda: visit.domain):
            yield visit

    @contextmanager
    def _counting(self, whose: Callable[[], str | bytes | None]) -> Iterator[None]:
        try:
            yield
        except TooManyRequests:
            raise
        except (PeerError, Refused):
            if self._rates is not None:
                self._rates.refused(whose())
            raise

    def receive(self, visit: Visit, body: bytes, media_type: str) -> Received:
        """Verify a voucher-request in itself, and say whose registrar it is.

        Args:
            body: as received.
            media_type: its Content-Type without parameters.

        Raises:
            UnknownFormat: such messages are not understood.
            TooManyRequests: its domain has had its share.
            CreatedOnOutOfWindow: it says that it is made later than now.
            OnboardingError: as :func:`open_registrar_request` and :func:`recognise`.
        """
        now = self._clock()
        serialization = self.understood(media_type)
        signed = serialization.open(body)
        asked = open_registrar_request(signed, now=now)
        visit.serial_number = asked.request.serial_number
        visit.domain = spki_sha256(asked.chain[min(1, len(asked.chain) - 1)])
        self._admit(visit.domain)
        for moment in (asked.request.created_on, signed.signing_time):
            check_created_on(moment, now=now)
        known = recognise(self._customers, visit.caller, asked.chain, at=now)
        return Received(asked=asked, serialization=serialization, known=known, now=now)

    def understood(self, media_type: str) -> VoucherSerialization:
        """The serialization of *media_type*.

        Raises:
            UnknownFormat: there is none.

        RFC 8995 §5.6.
        """
        serialization = self._serializations.get(media_type)
        if serialization is None:
            raise UnknownFormat(
                f"voucher-requests of type {media_type!r} are not understood",
                section="RFC 8995 §5.6",
            )
        return serialization

    def now(self) -> datetime:
        """Aware UTC."""
        return self._clock()

    def _admit(self, whose: str | bytes) -> None:
        if self._rates is not None:
            self._rates.admit(whose)
