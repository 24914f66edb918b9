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
from urllib.parse import quote

from pydantic import Field
from yarl import URL

from brski.edge.http.answer import Answer
from brski.edge.http.client import Call, HTTPSClient, any_address
from brski.edge.http.request import encode_request
from brski.edge.settings import ExistingFile, Seconds, Settings
from brski.edge.signers.file import load_chain
from brski.edge.tls_client import https_client_context
from brski.errors import OnboardingError, PeerError, SettingsError, Unavailable
from brski.idevid.record import DeviceRecord
from brski.idevid.record_json import DOCUMENT_OCTETS_LIMIT, decode_records
from brski.registry import JSON, RETRY_AFTER_CAP_S

_ETAG_CHARACTERS: Final = 256
_USUAL_RETRY_S: Final = 10
_SEGMENT: Final = "!$&'()*+,;=:@"  # beside letters, digits and "-._~": RFC 3986 §3.3
_FIELDS: Final = {"Accept": JSON}


class HTTPSourceSettings(Settings):
    """The table ``[manufacturer.source]`` with ``kind = "http"``."""

    kind: str = "http"
    url: str
    anchors: ExistingFile | None = None  # of the service's certificate; the system's when missing
    client_chain: ExistingFile  # this registrar's, as the OEM knows it
    client_key: ExistingFile
    send_spki: bool = False
    on_demand: bool = False
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
        on_demand: ask once more, and tell it, where nothing was found; for an OEM that certifies
            a device when it was met (docs/on-demand.md).
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
        on_demand: bool = False,
        timeout_s: float = 5.0,
        connections: int = 8,
        remembered: int = 4096,
    ) -> None:
        self._base = _checked_base(base_url)
        if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
            raise SettingsError("the context for an OEM's service must verify chain and host name")
        self._devices = f"{self._base.raw_path.rstrip('/')}/v1/devices/"
        self._host, self._port = self._base.raw_host or "", self._base.port or 443
        self._authority = self._base.raw_authority
        self._send_spki = send_spki
        self._on_demand = on_demand
        self._limit = remembered
        self._seen: OrderedDict[str, _Seen] = OrderedDict()  # by path and query
        self._client = HTTPSClient(
            context,
            timeout_s=timeout_s,
            connections=connections,
            addresses=any_address,
            watched=[(self._host, self._port)],
        )

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
            on_demand=settings.on_demand,
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
        return self._send_spki or self._on_demand

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str, *, spki_sha256: bytes | None
    ) -> tuple[DeviceRecord, ...]:
        """Ask the service; see :class:`~registrar_plugin.oem_source.port.DeviceRecordSource`.

        Raises:
            Unavailable: no connection or no answer in time; a status other than 200, 304 and 404; a
                redirect; a body that is no list of records, or is over its limit.
        """
        if serial_number in {".", ".."}:
            return ()  # they name no resource of their own: a service cannot be asked for them
        if spki_sha256 is None and self._send_spki:
            return ()  # a service that answers by key alone; nobody's key is no question
        told = spki_sha256 if self._send_spki else None
        found = await self._ask(self._target(idevid_issuer, serial_number, told))
        wanted = self._on_demand and not self._send_spki and spki_sha256 is not None
        if not found and wanted:
            return await self._ask(self._target(idevid_issuer, serial_number, spki_sha256))
        return found

    async def check(self) -> None:
        """See :class:`registrar_plugin.health.port.Checkable`."""
        self._client.check()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask(self, target: str) -> tuple[DeviceRecord, ...]:
        seen = self._seen.get(target)
        fields = _FIELDS if seen is None else _FIELDS | {"If-None-Match": seen.etag}
        try:
            answer = await self._client.send(
                Call(
                    host=self._host,
                    port=self._port,
                    octets=encode_request("GET", target, self._authority, fields),
                    body_octets=DOCUMENT_OCTETS_LIMIT,
                    repeatable=True,
                )
            )
        except Unavailable as err:
            raise Unavailable(
                f"{self._host} does not answer: {err.reason}", retry_after_s=err.retry_after_s
            ) from err
        except PeerError as err:
            raise self._no_answer(err.reason) from err
        return self._read(answer, target, seen)

    def _target(
        self, idevid_issuer: bytes | None, serial_number: str, spki_sha256: bytes | None
    ) -> str:
        query = []
        if idevid_issuer is not None:
            query.append(f"idevid_issuer={_base64url(idevid_issuer)}")
        if spki_sha256 is not None:
            query.append(f"spki_sha256={_base64url(spki_sha256)}")
        path = self._devices + quote(serial_number, safe=_SEGMENT)
        return f"{path}?{'&'.join(query)}" if query else path

    def _read(self, answer: Answer, target: str, seen: _Seen | None) -> tuple[DeviceRecord, ...]:
        match answer.status:
            case 404:
                self._seen.pop(target, None)
                return ()
            case 304 if seen is not None:
                return seen.records
            case 200:
                records = self._records(answer)
                self._remember(target, answer.fields.get("etag", ""), records)
                return records
        raise Unavailable(
            f"{self._host} answers {answer.status}",
            retry_after_s=_retry_after(answer.fields.get("retry-after", "")),
        )

    def _records(self, answer: Answer) -> tuple[DeviceRecord, ...]:
        if answer.media_type != JSON:
            raise self._no_answer(f"{answer.media_type!r}")
        try:
            return decode_records(answer.body)
        except OnboardingError as err:
            raise self._no_answer(str(err)) from err

    def _no_answer(self, what: str) -> Unavailable:
        return Unavailable(
            f"{self._host} answers with no device records: {what[:200]}",
            retry_after_s=_USUAL_RETRY_S,
        )

    def _remember(self, target: str, etag: str, records: tuple[DeviceRecord, ...]) -> None:
        self._seen.pop(target, None)
        if not records or not 0 < len(etag) <= _ETAG_CHARACTERS:
            return
        self._seen[target] = _Seen(etag, records)
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)


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


def _retry_after(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        return _USUAL_RETRY_S
    return max(1, min(int(text), RETRY_AFTER_CAP_S))
