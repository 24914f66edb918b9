"""The port to manufacturers' MASAs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class MASAAnswer:
    """A MASA's 200."""

    body: bytes
    media_type: str


class MASALink(Protocol):
    """Carries a signed registrar voucher-request to a MASA. Judges addresses and TLS, never
    vouchers.
    """

    async def request_voucher(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        """POST *body* to ``{masa_url}/requestvoucher`` (RFC 8995 §5.5).

        Args:
            manufacturer: whose anchors and client certificate count, by its name in the settings;
                it comes from the verified identity, so that a URL cannot choose them.
            masa_url: base URL without a final slash, from
            :func:`brski.pki.extensions.masa_base_url`.

        Raises:
            VoucherRefused: 4xx or 501, by subclass where RFC 8995 §5.6 tells them apart; the reason
                holds status and the MASA's one line.
            CredentialsRefused: 401: the MASA does not take us for who may ask.
            Unavailable: 5xx, no answer in time, TLS failure.
            AddressNotAllowed: the URL leads to an address that is not allowed.
            UnexpectedResponse: a redirect, a wrong media type, a body over the limit.
        """

    async def request_audit_log(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        """POST the same *body* to ``{masa_url}/requestauditlog`` (RFC 8995 §5.8).

        A 201 names the place of the log; it is fetched from there if that is the same MASA.

        Raises: as :meth:`request_voucher`.
        """

    async def close(self) -> None:
        """Give back connections."""
