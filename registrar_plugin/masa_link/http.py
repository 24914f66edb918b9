"""The MASA link over HTTPS: connections kept, apart for each manufacturer (RFC 8995 §5.4)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from yarl import URL

from brski.edge.http.answer import Answer
from brski.edge.http.client import Call, HTTPSClient
from brski.edge.http.request import encode_request
from brski.errors import (
    CredentialsRefused,
    LocalError,
    NotIssuableByMASA,
    NotKnownToMASA,
    NotUnderstoodByMASA,
    TooLarge,
    Unavailable,
    UnexpectedResponse,
    VoucherRefused,
)
from brski.registry import BODY_LIMIT, JSON, REQUEST_AUDIT_LOG, REQUEST_VOUCHER
from registrar_plugin.masa_link.addresses import CheckedAddresses, check_url
from registrar_plugin.masa_link.authentication import Authentication
from registrar_plugin.masa_link.port import MASAAnswer

_SECTION: Final = "RFC 8995 §5.6"
_AUDIT_LOG_LIMIT: Final = 1024 * 1024
_REASON_LIMIT: Final = 200
_RETRY_AFTER_LIMIT_S: Final = 3600
_REFUSALS: Final[Mapping[int, type[VoucherRefused]]] = {  # RFC 8995 §5.6
    404: NotKnownToMASA,
    406: NotIssuableByMASA,
    415: NotUnderstoodByMASA,
}
_URLS: Final = 256  # remembered as parsed: manufacturers have few


@dataclass(frozen=True, slots=True, kw_only=True)
class MASAAccess:
    """How to reach one manufacturer's MASA."""

    context: ssl.SSLContext  # its anchors, and our client certificate if it wants one
    hosts: frozenset[str] = frozenset()  # exact "host:port" that may be at any address
    watched: frozenset[tuple[str, int]] = frozenset()  # looked at also while no device needs them
    authentication: Authentication | None = None  # by HTTP
    timeout_s: float = 10.0
    connections: int = 32


class HTTPMASALink:
    """Implements :class:`~registrar_plugin.masa_link.port.MASALink`.

    Args:
        accesses: by manufacturer's name.
    """

    def __init__(self, accesses: Mapping[str, MASAAccess]) -> None:
        self._accesses = {name: _Access(access) for name, access in accesses.items()}

    async def request_voucher(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        """See :meth:`~registrar_plugin.masa_link.port.MASALink.request_voucher`."""
        access = self._of(manufacturer)
        answer = await access.post(
            masa_url + REQUEST_VOUCHER, body, media_type, accept=media_type, limit=BODY_LIMIT
        )
        return _judged(answer)

    async def request_audit_log(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        """See :meth:`~registrar_plugin.masa_link.port.MASALink.request_audit_log`."""
        access, url = self._of(manufacturer), masa_url + REQUEST_AUDIT_LOG
        answer = await access.post(url, body, media_type, accept=JSON, limit=_AUDIT_LOG_LIMIT)
        if answer.status == 201:
            place = _place(url, answer.fields.get("location", ""))
            answer = await access.get(place, accept=JSON, limit=_AUDIT_LOG_LIMIT)
        return _judged(answer)

    async def check(self, manufacturer: str) -> None:
        """Raise if a server of the manufacturer's has been given up; look, beside, at those that
        are watched (docs/health.md).

        Raises:
            Unavailable: it has, and is tried again when it is time.
        """
        self._of(manufacturer).check()

    async def close(self) -> None:
        """Close the kept connections."""
        for access in self._accesses.values():
            await access.close()

    def _of(self, manufacturer: str) -> _Access:
        access = self._accesses.get(manufacturer)
        if access is None:
            raise LocalError(f"no MASA access is configured for manufacturer {manufacturer!r}")
        return access


class _Access:
    """One manufacturer's anchors, client certificate and kept connections."""

    def __init__(self, access: MASAAccess) -> None:
        self._hosts = frozenset(host.lower() for host in access.hosts)
        self._authentication = access.authentication
        self._client = HTTPSClient(
            access.context,
            timeout_s=access.timeout_s,
            connections=access.connections,
            addresses=CheckedAddresses(self._hosts),
            watched=access.watched,
        )

    async def post(
        self, url: str, body: bytes, media_type: str, *, accept: str, limit: int
    ) -> Answer:
        fields = {"Content-Type": media_type, "Accept": accept}
        return await self._send("POST", url, fields, body, limit)

    async def get(self, url: str, *, accept: str, limit: int) -> Answer:
        return await self._send("GET", url, {"Accept": accept}, b"", limit)

    async def _send(
        self, method: str, url: str, fields: Mapping[str, str], body: bytes, limit: int
    ) -> Answer:
        target, known = _parsed(url), self._authentication
        check_url(target, self._hosts)
        said = known.unasked(method, target) if known else None
        answer = await self._sent(method, target, _with(fields, said), body, limit)
        if answer.status != 401 or known is None:
            return answer
        said = known.asked(answer.fields.get("www-authenticate", ""), method, target)
        if said is None:
            return answer
        return await self._sent(method, target, _with(fields, said), body, limit)

    async def _sent(
        self, method: str, target: URL, fields: Mapping[str, str], body: bytes, limit: int
    ) -> Answer:
        host = target.raw_host or ""
        call = Call(
            host=host,
            port=target.port or 443,
            octets=encode_request(method, target.raw_path_qs, target.raw_authority, fields, body),
            body_octets=limit,
            # The same signed octets: a MASA that had answered them already answers them again, as
            # it does when a pledge asks twice, and its log holds this owner twice with one nonce.
            repeatable=True,
        )
        try:
            return await self._client.send(call)
        except Unavailable as err:
            said = f"the MASA at {host} does not answer: {err.reason}"
            raise Unavailable(said, retry_after_s=err.retry_after_s) from err
        except TooLarge as err:
            raise UnexpectedResponse(f"the MASA's answer: {err.reason}", section=_SECTION) from err

    def check(self) -> None:
        self._client.check()

    async def close(self) -> None:
        await self._client.close()


def _with(fields: Mapping[str, str], authorization: str | None) -> Mapping[str, str]:
    return fields if authorization is None else {**fields, "Authorization": authorization}


@lru_cache(maxsize=_URLS)
def _parsed(url: str) -> URL:
    return URL(url)


def _place(url: str, location: str) -> str:
    """Where a 201 says that the log is, if it is the same MASA that says so.

    Raises:
        UnexpectedResponse: another one, or nowhere.

    RFC 8995 §5.8.
    """
    try:
        asked, place = _parsed(url), _parsed(url).join(URL(location))
        here = location != "" and place.origin() == asked.origin() and not place.fragment
    except ValueError:
        here = False
    if not here:
        raise UnexpectedResponse(
            f"the MASA says that its log is at {location!r:.80}, which is not its own address",
            section="RFC 8995 §5.8",
        )
    return str(place)


def _judged(answer: Answer) -> MASAAnswer:
    status = answer.status
    if status == 200:
        return MASAAnswer(body=answer.body, media_type=answer.media_type)
    if status == 401:
        raise CredentialsRefused(
            f"the MASA answered 401: {_line(answer)}",
            section="RFC 8995 §5.4",
            hint="look at client_key, client_chain and user of [manufacturer.masa]",
        )
    if status in (202, 429) or (status >= 500 and status != 501):
        raise Unavailable(
            f"the MASA answered {status}: {_line(answer)}",
            retry_after_s=_retry_after(answer.fields.get("retry-after", "")),
            section=_SECTION,
        )
    if 400 <= status < 500 or status == 501:
        kind = _REFUSALS.get(status, VoucherRefused)
        raise kind(f"the MASA answered {status}: {_line(answer)}", section=_SECTION)
    raise UnexpectedResponse(
        f"the MASA answered {status}; redirects are not followed", section=_SECTION
    )


def _line(answer: Answer) -> str:
    """The MASA's reason as one printable line; nothing of another media type."""
    text = answer.reason
    if answer.media_type == "text/plain":
        text = answer.body[:_REASON_LIMIT].decode("utf-8", "replace")
    printable = "".join(c if c.isprintable() else " " for c in text[:_REASON_LIMIT])
    return " ".join(printable.split()) or "no reason given"


def _retry_after(value: str) -> int:
    if value.isascii() and value.isdigit() and len(value) < 8:
        return min(int(value), _RETRY_AFTER_LIMIT_S)
    return 10
