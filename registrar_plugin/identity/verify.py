"""Who is it: from a TLS peer's chain and its voucher-request to a verified IDevID, or why not.

The promise, the order and the answers are in docs/identity.md. Knows no HTTP, no clock of its own
and no source: a lookup is given. An existing registrar can call this and nothing else of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509

from brski.errors import (
    CertificateMismatch,
    DeviceAmbiguous,
    DeviceRevoked,
    DeviceUnknown,
    IDevIDIssuerMismatch,
    KeyMismatch,
    OnboardingError,
    PeerError,
    SerialNumberMismatch,
    SettingsError,
)
from brski.idevid.assertion import is_asserted, read_assertion
from brski.idevid.record import DeviceRecord, Presentation
from brski.pki.keys import spki_of
from brski.voucher.rules import check_pledge_request, check_request_date
from brski.voucher.serialization import VoucherSerialization
from registrar_plugin.identity.announced import Announced, announced_devices
from registrar_plugin.identity.budget import RateBudget
from registrar_plugin.identity.judge import (
    Established,
    Identified,
    check_certificate,
    check_status,
    check_validity,
    judge_carried,
    judge_record,
    match_carried,
    record_of,
    select,
)
from registrar_plugin.identity.model import DeviceKey, VerifiedIDevID
from registrar_plugin.identity.policy import Manufacturer
from registrar_plugin.identity.port import RecordLookup
from registrar_plugin.identity.presented import Presented, parse_presented

IDENTITY_REFUSALS: Final[tuple[type[OnboardingError], ...]] = (
    DeviceUnknown,
    KeyMismatch,
    CertificateMismatch,
    DeviceRevoked,
    DeviceAmbiguous,
)
"""What a pledge must not be able to tell apart: one status, one body for all of them."""


_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What the peer says of itself, its own key proven, after all that can be judged locally."""

    presentation: Presentation
    serial_number: str
    idevid_issuer: bytes | None  # asserted: a hint under the TLS signature
    spki: bytes
    established: Established | None  # carried: its chain leads to one manufacturer


class IdentityVerifier:
    """Says who is at the other end of a connection; one for the whole registrar.

    Args:
        manufacturers: whose devices may come; names differ.
        serialization: how pledge voucher-requests are signed (:data:`brski.voucher.cms.CMS`).
        clock: aware UTC, used where a call gives no time.
        lookup: asks the sources that *manufacturers* name; closed with this.
        registrar_certificate: what this listener shows; or given with each call.
        budget: how often pledges may ask; without one, the usual budget on *clock*.

    Raises:
        SettingsError: two manufacturers share a name or a listed issuer; or one names a source and
            there is no lookup.
    """

    def __init__(
        self,
        manufacturers: Sequence[Manufacturer],
        *,
        serialization: VoucherSerialization,
        clock: Callable[[], datetime],
        lookup: RecordLookup | None = None,
        registrar_certificate: x509.Certificate | None = None,
        budget: RateBudget | None = None,
    ) -> None:
        self._manufacturers = {m.name: m for m in manufacturers}
        self._clock = clock
        self._lookup = lookup or _NoSources()
        self._registrar_certificate = registrar_certificate
        self._serialization = serialization
        self._budget = budget or RateBudget(clock=lambda: clock().timestamp())
        _check_manufacturers(manufacturers, has_lookup=lookup is not None)
        self._by_anchor_name = _group(
            (anchor.subject, m) for m in manufacturers for anchor in m.anchors.anchors
        )
        self._by_issuer = _group((i, m) for m in manufacturers for i in m.known_issuers())

    async def verify(
        self,
        peer_chain: Sequence[bytes] | Sequence[x509.Certificate],
        pledge_voucher_request: bytes,
        *,
        registrar_certificate: x509.Certificate | None = None,
        peer_address: str = "",
        now: datetime | None = None,
    ) -> VerifiedIDevID:
        """Establish who sent *pledge_voucher_request* over a connection.

        Args:
            peer_chain: the client's certificates as sent, leaf first, DER or parsed, on a
                connection whose handshake proved possession of the leaf's key.
            pledge_voucher_request: the body as received; for CMS, DER.
            registrar_certificate: the end-entity certificate that this connection showed.
            peer_address: for the budget; empty when unknown.
            now: aware UTC.

        Raises:
            TooManyRequests: a rate budget is used up.
            Malformed, UnknownFormat, TooLarge: the request or a certificate cannot be read.
            NotAuthenticated: no client certificate.
            KeyNotAllowed: its key.
            SignatureInvalid: the request was not signed by that key.
            ChainInvalid, IDevIDIssuerMismatch: a carried chain.
            SerialNumberMismatch: request and certificate name different devices.
            ProximityMismatch: the request is for another registrar (RFC 8995 §5.2: 401, close).
            NonceMismatch: the request has no nonce.
            CreatedOnOutOfWindow: its created-on is of another month, or of tomorrow.
            Unavailable: a manufacturer that could know the device did not answer.
            DeviceUnknown, KeyMismatch, CertificateMismatch, DeviceRevoked, DeviceAmbiguous:
                :data:`IDENTITY_REFUSALS`; the pledge must not learn which.
            SettingsError: no registrar certificate was given, here or to the constructor.

        RFC 8995 §5.1, §5.2, §5.5; docs/identity.md.
        """
        now = now or self._clock()
        ours = registrar_certificate or self._registrar_certificate
        if ours is None:
            raise SettingsError("identity needs the certificate that this listener shows")
        self._budget.take(peer_address)
        signed = self._serialization.open(pledge_voucher_request)
        presented = parse_presented(peer_chain)
        signed.verify(presented.public_key)
        request = signed.voucher_request()
        claim = self._claim(presented, now)
        check_pledge_request(request, serial_number=claim.serial_number, registrar_certificate=ours)
        check_request_date(request, now=now)
        identified = await self._identify(claim, now=now)
        established = identified.established
        return VerifiedIDevID(
            device=established.device,
            manufacturer=established.manufacturer.name,
            presentation=claim.presentation,
            idevid=established.idevid,
            idevid_chain=established.path,
            masa_url=established.manufacturer.masa_url_of(established.idevid),
            record=identified.record,
            request=request,
            request_octets=pledge_voucher_request,
        )

    async def recheck(
        self, verified: VerifiedIDevID, *, now: datetime | None = None
    ) -> DeviceRecord | None:
        """Fetch the record past the caches and compare again; right before something is signed.

        Args:
            verified: what :meth:`verify` returned, however long ago.
            now: aware UTC.

        Returns:
            The record as it is now; None where the manufacturer has no source, or none of it at the
            time of :meth:`verify` either.

        Raises:
            DeviceUnknown: the record, or the manufacturer's settings, are gone.
            KeyMismatch, CertificateMismatch: the record has another certificate now.
            DeviceRevoked: it was revoked or flagged in between.
            DeviceAmbiguous: there are several.
            ChainInvalid: the path is out of its validity by now.
            Unavailable: the manufacturer's source does not answer.
        """
        record = await self.recheck_device(
            verified.device, verified.manufacturer, verified.idevid_chain, now=now
        )
        if record is None and verified.record is not None:
            raise DeviceUnknown(
                f"{verified.manufacturer} has no record of {verified.device} any more"
            )
        return record

    async def recheck_device(
        self,
        device: DeviceKey,
        manufacturer: str,
        idevid_chain: Sequence[x509.Certificate],
        *,
        now: datetime | None = None,
    ) -> DeviceRecord | None:
        """:meth:`recheck` for a device that was verified in another run, or long ago.

        Args:
            manufacturer: its name, as verified then.
            idevid_chain: likewise, leaf first, the anchor last.
            now: aware UTC.

        Returns:
            The record as it is now, or None where there is none.

        Raises:
            OnboardingError: as :meth:`recheck`; a record that is gone only where the
                manufacturer's policy wants one.
        """
        maker = self._configured(manufacturer)
        check_validity(
            idevid_chain, now=now or self._clock(), ignore_leaf=maker.ignore_idevid_expiry
        )
        spki = spki_of(idevid_chain[0])
        records = await self._records(
            maker, device.idevid_issuer, device.serial_number, spki, fresh=True
        )
        record = record_of(device, records)
        if record is not None:
            check_certificate(record, idevid_chain[0])
            check_status(record)
        elif maker.source is not None and maker.require_record:
            raise DeviceUnknown(f"{maker.name} has no record of {device} any more")
        return record

    async def confirm(
        self,
        peer_chain: Sequence[bytes] | Sequence[x509.Certificate],
        device: DeviceKey,
        manufacturer: str,
        *,
        now: datetime | None = None,
    ) -> DeviceRecord | None:
        """Raise unless *device*, verified before, is at the other end of this connection too.

        For a connection that carries no voucher-request, such as EST's: all of :meth:`verify` but
        for the request, with the record fetched past the caches.

        Args:
            peer_chain: as for :meth:`verify`.
            device: of the onboarding that this connection claims to go on with.
            manufacturer: its name, as verified then.
            now: aware UTC.

        Returns:
            The record; None where the manufacturer has no source, or none of a carried IDevID.

        Raises:
            SerialNumberMismatch, IDevIDIssuerMismatch: it is another device.
            OnboardingError: as :meth:`verify`, but for what concerns a request.
        """
        now = now or self._clock()
        only = self._configured(manufacturer)
        claim = self._claim(parse_presented(peer_chain), now)
        if claim.established is None and claim.idevid_issuer is None:
            claim = replace(claim, idevid_issuer=device.idevid_issuer)
        identified = await self._identify(claim, now=now, only=only, fresh=True)
        _check_same_device(identified.established, device, manufacturer)
        return identified.record

    async def announced(
        self,
        manufacturer: str,
        serial_number: str,
        *,
        idevid_issuer: bytes | None = None,
        now: datetime | None = None,
    ) -> tuple[Announced, ...]:
        """Devices of this serial number that need not have come, as their records have them; see
        :func:`registrar_plugin.identity.announced.announced_devices`.
        """
        return await announced_devices(
            self._configured(manufacturer),
            self._lookup,
            serial_number,
            idevid_issuer=idevid_issuer,
            now=now or self._clock(),
        )

    async def close(self) -> None:
        """Close the lookup."""
        await self._lookup.close()

    # -- what the peer says of itself ----------------------------------------------------------

    def _claim(self, presented: Presented, now: datetime) -> _Claim:
        if is_asserted(presented.chain):
            asserted = read_assertion(presented.chain[0])
            return _Claim(
                presentation=Presentation.ASSERTED,
                serial_number=asserted.serial_number,
                idevid_issuer=asserted.idevid_issuer,
                spki=presented.spki,
                established=None,
            )
        established = judge_carried(self._anchored(presented.chain), presented.chain, now=now)
        return _Claim(
            presentation=Presentation.CARRIED,
            serial_number=established.device.serial_number,
            idevid_issuer=established.device.idevid_issuer,
            spki=presented.spki,
            established=established,
        )

    def _anchored(self, chain: Sequence[x509.Certificate]) -> list[Manufacturer]:
        """Those with an anchor of a name that *chain* mentions; no other could be led to."""
        names = {
            name for certificate in chain for name in (certificate.issuer, certificate.subject)
        }
        found = {m.name for name in names for m in self._by_anchor_name.get(name, ())}
        return [m for m in self._manufacturers.values() if m.name in found]

    # -- what the manufacturers say of it ------------------------------------------------------

    async def _identify(
        self,
        claim: _Claim,
        *,
        now: datetime,
        only: Manufacturer | None = None,
        fresh: bool = False,
    ) -> Identified:
        if claim.established is None:
            candidates = self._candidates(claim) if only is None else [only]
            identified = await self._fetched(claim, candidates, now=now, fresh=fresh)
        else:
            identified = await self._carried(claim.established, claim.spki, fresh=fresh)
        if identified.record is not None:
            check_status(identified.record)
        return identified

    async def _carried(self, established: Established, spki: bytes, *, fresh: bool) -> Identified:
        manufacturer, device = established.manufacturer, established.device
        if manufacturer.source is None:
            return Identified(established=established, record=None)
        records = await self._records(
            manufacturer, device.idevid_issuer, device.serial_number, spki, fresh=fresh
        )
        return match_carried(established, records)

    def _candidates(self, claim: _Claim) -> list[Manufacturer]:
        """Whom to ask about an asserted serial number; an issuer named narrows, never widens."""
        named = claim.idevid_issuer
        known: Collection[Manufacturer] = ()
        if named is not None:
            known = self._by_issuer.get(named, ())
        return [
            m
            for m in known or self._manufacturers.values()
            if m.source is not None
            and m.may_have_numbered(claim.serial_number, issuer_named=named is not None)
        ]

    async def _fetched(
        self, claim: _Claim, candidates: Sequence[Manufacturer], *, now: datetime, fresh: bool
    ) -> Identified:
        sources = {m.source for m in candidates if m.source is not None}
        if not sources:
            raise DeviceUnknown(
                f"no manufacturer is known that could have made {claim.serial_number}"
            )
        answers = await self._lookup.find(
            sources,
            claim.idevid_issuer,
            claim.serial_number,
            spki_sha256=hashlib.sha256(claim.spki).digest(),
            fresh=fresh,
        )
        found: list[Identified] = []
        refusals: list[tuple[str, PeerError]] = []
        for manufacturer in candidates:
            for record in answers[manufacturer.source or ""]:
                try:
                    found.append(_judged(record, manufacturer, claim, now))
                except PeerError as refusal:
                    refusals.append((manufacturer.name, refusal))
        return select(found) or _refuse(claim, refusals)

    async def _records(
        self,
        manufacturer: Manufacturer,
        idevid_issuer: bytes,
        serial_number: str,
        spki: bytes,
        *,
        fresh: bool,
    ) -> tuple[DeviceRecord, ...]:
        sources = () if manufacturer.source is None else (manufacturer.source,)
        answers = await self._lookup.find(
            sources,
            idevid_issuer,
            serial_number,
            spki_sha256=hashlib.sha256(spki).digest(),
            fresh=fresh,
        )
        return tuple(record for source in sources for record in answers[source])

    def _configured(self, name: str) -> Manufacturer:
        manufacturer = self._manufacturers.get(name)
        if manufacturer is None:
            raise DeviceUnknown(f"manufacturer {name!r} is no longer in the settings")
        return manufacturer


class _NoSources:
    """The lookup of a registrar whose manufacturers all let their devices carry."""

    async def find(self, *_: object, **__: object) -> Mapping[str, tuple[DeviceRecord, ...]]:
        return {}

    async def close(self) -> None:
        """There is nothing to give back."""


def _judged(
    record: DeviceRecord, manufacturer: Manufacturer, claim: _Claim, now: datetime
) -> Identified:
    return judge_record(
        record,
        manufacturer,
        serial_number=claim.serial_number,
        idevid_issuer=claim.idevid_issuer,
        spki=claim.spki,
        now=now,
    )


def _refuse(claim: _Claim, refusals: Sequence[tuple[str, PeerError]]) -> Identified:
    """Raise what the operator should read; whichever it is, the pledge gets the one answer."""
    reasons = "; ".join(f"{name}: {refusal.reason}" for name, refusal in refusals)
    for _, refusal in refusals:
        if isinstance(refusal, KeyMismatch):
            raise KeyMismatch(
                f"no record of {claim.serial_number} holds the proven key: {reasons}",
                section=refusal.section,
                found=refusal.found,
                wanted=refusal.wanted,
            )
    if refusals:
        raise DeviceUnknown(f"no record of {claim.serial_number} can be believed: {reasons}")
    raise DeviceUnknown(f"no record of {claim.serial_number}")


def _check_same_device(established: Established, device: DeviceKey, manufacturer: str) -> None:
    if established.device.serial_number != device.serial_number:
        raise SerialNumberMismatch(
            f"the connection is of {established.device.serial_number}, not of {device}"
        )
    if (
        established.device.idevid_issuer != device.idevid_issuer
        or established.manufacturer.name != manufacturer
    ):
        raise IDevIDIssuerMismatch(
            f"the connection is of {established.device} ({established.manufacturer.name}), "
            f"not of {device} ({manufacturer})"
        )


def _group(pairs: Iterable[tuple[_Key, Manufacturer]]) -> dict[_Key, list[Manufacturer]]:
    """Manufacturers by a key that several may share, each once, in the order of the settings."""
    groups: dict[_Key, list[Manufacturer]] = {}
    for key, manufacturer in pairs:
        group = groups.setdefault(key, [])
        if manufacturer not in group:
            group.append(manufacturer)
    return groups


def _check_manufacturers(manufacturers: Sequence[Manufacturer], *, has_lookup: bool) -> None:
    names = [m.name for m in manufacturers]
    if len(set(names)) != len(names):
        raise SettingsError("two manufacturers have one name")
    listed = [issuer for m in manufacturers for issuer in m.issuers]
    if len(set(listed)) != len(listed):
        raise SettingsError("two manufacturers list one issuer")
    if not has_lookup and any(m.source is not None for m in manufacturers):
        raise SettingsError("a manufacturer names a source of records, and there is no lookup")
