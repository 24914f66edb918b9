"""Device records from an OEM's service: ``GET {base}/v1/devices/{serial_number}`` over mutual TLS.

Carries questions and answers; whether a record is true is judged in
:mod:`registrar_plugin.identity`.
"""

from __future__ import annotations

import base64
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
from pydantic import Field
from yarl import URL

from brski.edge.settings import ExistingFile, Seconds, Settings
from brski.edge.signers.file import load_chain
from brski.edge.tls_client import https_client_context
from brski.errors import OnboardingError, SettingsError, Unavailable
from brski.idevid.record import DeviceRecord
from brski.idevid.record_json import DOCUMENT_OCTETS_LIMIT, decode_records
from brski.registry import JSON, RETRY_AFTER_CAP_S

_ETAG_CHARACTERS: Final = 256
_USUAL_RETRY_S: Final = 10


class HTTPSourceSettings(Settings):
    """The table ``[manufacturer.source]`` with ``kind = "http"``."""

    kind: str = "http"
    url: str
    anchors: ExistingFile | None = None  # of the service's certificate; the system's when missing
    client_chain: ExistingFile  # this registrar's, as the OEM knows it
    client_key: ExistingFile
    send_spki: bool = False
    timeout_s: Seconds = 5.0
    connections: int = Field(default=8, ge=1, le=256)


@dataclass(frozen=True, slots=True)
class _Seen:
    etag: str
    records: tuple[DeviceRecord, ...]


class HTTPSource:
    """One OEM's service as a :class:`~registrar_plugin.oem_source.port.DeviceRecordSource`.

    An answer with an ETag is remembered, and asked for again only on condition that it has changed:
    each question still goes to the service, so a revocation shows at once.

    Args:
        base_url: ``https://host[:port][/path]``, without query, fragment or credentials.
        context: a client context that verifies the service's chain and DNS name and holds this
            registrar's client certificate (:func:`brski.edge.tls_client.https_client_context`).
        send_spki: tell the service the digest of the proven key; for an OEM that demands it.
        timeout_s: for a whole answer, connecting included.
        connections: kept open at most.
        remembered: answers with an ETag, at most.

    Raises:
        SettingsError: *base_url* is not one, or *context* would not verify the service.
    """

    Settings = HTTPSourceSettings

    def __init__(
        self,
        base_url: str,
        context: ssl.SSLContext,
        *,
        send_spki: bool = False,
        timeout_s: float = 5.0,
        connections: int = 8,
        remembered: int = 4096,
    ) -> None:
        self._base = _checked_base(base_url)
        if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
            raise SettingsError("the context for an OEM's service must verify chain and host name")
        self._context = context
        self._send_spki = send_spki
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._connections = connections
        self._limit = remembered
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def open(cls, settings: HTTPSourceSettings) -> Self:
        """Build it from its table.

        Raises:
            SettingsError: as the class.
            KeyUnusable, FileUnusable: one of the files.
        """
        anchors = None if settings.anchors is None else load_chain(settings.anchors)
        context = https_client_context(
            anchors, client_chain=settings.client_chain, client_key=settings.client_key
        )
        return cls(
            settings.url,
            context,
            send_spki=settings.send_spki,
            timeout_s=settings.timeout_s,
            connections=settings.connections,
        )

    @property
    def base_url(self) -> str:
        """Of the service, as given."""
        return str(self._base)

    @property
    def answers_by_key(self) -> bool:
        """Whether the key's digest is sent, which the answer may then depend on."""
        return self._send_spki

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str, *, spki_sha256: bytes
    ) -> tuple[DeviceRecord, ...]:
        """Ask the service; see :class:`~registrar_plugin.oem_source.port.DeviceRecordSource`.

        Raises:
            Unavailable: no connection or no answer in time; a status other than 200, 304 and 404; a
                redirect; a body that is no list of records, or is over its limit.
        """
        if serial_number in {".", ".."}:
            return ()  # they name no resource of their own: a service cannot be asked for them
        url = self._url(idevid_issuer, serial_number, spki_sha256)
        seen = self._seen.get(str(url))
        headers = {"Accept": JSON}
        if seen is not None:
            headers["If-None-Match"] = seen.etag
        try:
            async with self._open_session().get(
                url, headers=headers, allow_redirects=False
            ) as response:
                return await self._read(response, str(url), seen)
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise Unavailable(
                f"{self._base.host} does not answer: {type(err).__name__}",
                retry_after_s=_USUAL_RETRY_S,
            ) from err

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _url(self, idevid_issuer: bytes | None, serial_number: str, spki_sha256: bytes) -> URL:
        query = {}
        if idevid_issuer is not None:
            query["idevid_issuer"] = _base64url(idevid_issuer)
        if self._send_spki:
            query["spki_sha256"] = _base64url(spki_sha256)
        return (self._base / "v1" / "devices" / serial_number).with_query(query)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._context, limit=self._connections),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    async def _read(
        self, response: aiohttp.ClientResponse, url: str, seen: _Seen | None
    ) -> tuple[DeviceRecord, ...]:
        match response.status:
            case 404:
                self._seen.pop(url, None)
                return ()
            case 304 if seen is not None:
                return seen.records
            case 200:
                records = await self._records(response)
                self._remember(url, response.headers.get("ETag", ""), records)
                return records
        raise Unavailable(
            f"{self._base.host} answers {response.status}", retry_after_s=_retry_after(response)
        )

    async def _records(self, response: aiohttp.ClientResponse) -> tuple[DeviceRecord, ...]:
        encoding = response.headers.get("Content-Encoding", "identity")
        if response.content_type != JSON or encoding != "identity":
            raise self._no_answer(f"{response.content_type!r}, encoded {encoding!r}")
        body = await _read_bounded(response.content)
        if len(body) > DOCUMENT_OCTETS_LIMIT:
            raise self._no_answer(f"more than {DOCUMENT_OCTETS_LIMIT} octets")
        try:
            return decode_records(body)
        except OnboardingError as err:
            raise self._no_answer(str(err)) from err

    def _no_answer(self, what: str) -> Unavailable:
        return Unavailable(
            f"{self._base.host} answers with no device records: {what[:200]}",
            retry_after_s=_USUAL_RETRY_S,
        )

    def _remember(self, url: str, etag: str, records: tuple[DeviceRecord, ...]) -> None:
        self._seen.pop(url, None)
        if not records or not 0 < len(etag) <= _ETAG_CHARACTERS:
            return
        self._seen[url] = _Seen(etag, records)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)


async def _read_bounded(content: aiohttp.StreamReader) -> bytes:
    """The body, or one octet more than is accepted of it."""
    body = bytearray()
    async for chunk in content.iter_chunked(16 * 1024):
        body += chunk
        if len(body) > DOCUMENT_OCTETS_LIMIT:
            break
    return bytes(body[: DOCUMENT_OCTETS_LIMIT + 1])


def _checked_base(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError as err:
        raise SettingsError(f"{text!r} is no URL") from err
    if url.scheme != "https" or not url.host:
        raise SettingsError(f"{text!r} is no https URL", hint="https://host[:port][/path]")
    if url.raw_query_string or url.raw_fragment or url.user or url.password:
        raise SettingsError(f"{text!r} has a query, a fragment or credentials")
    return url


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _retry_after(response: aiohttp.ClientResponse) -> int:
    text = response.headers.get("Retry-After", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        return _USUAL_RETRY_S
    return max(1, min(int(text), RETRY_AFTER_CAP_S))
