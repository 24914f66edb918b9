"""Who is it that has not come yet: a device as its manufacturer's record has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from brski.errors import DeviceUnknown
from brski.idevid.record import DeviceRecord, DeviceStatus
from brski.pki.extensions import masa_base_url
from registrar_plugin.identity.judge import check_status, judge_record
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.identity.policy import Manufacturer
from registrar_plugin.identity.port import RecordLookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A device that a voucher can be fetched for; nobody has proven its key."""

    device: DeviceKey
    manufacturer: str
    masa_url: str


async def announced_devices(
    manufacturer: Manufacturer,
    lookup: RecordLookup,
    serial_number: str,
    *,
    idevid_issuer: bytes | None,
    now: datetime,
) -> tuple[Announced, ...]:
    """Every device of *manufacturer* that has this serial number.

    A manufacturer without a source of records is believed to have made the device that the
    operator names.

    Args:
        serial_number: checked by :func:`brski.pki.names.check_serial_number`.
        idevid_issuer: 20-octet keyIdentifier, where the operator names it.
        now: aware UTC.

    Raises:
        DeviceUnknown: none is known, or where its MASA is.
        DeviceRevoked: all are revoked or flagged.
        PeerError: a record does not lead to the manufacturer's anchors.
        Unavailable: the source does not answer.
    """
    if manufacturer.source is None:
        return (_named(manufacturer, serial_number, idevid_issuer),)
    source = manufacturer.source
    answers = await lookup.find(
        (source,), idevid_issuer, serial_number, spki_sha256=None, fresh=True
    )
    records = answers[source]
    if not records and idevid_issuer is not None and manufacturer.masa_url is not None:
        return (_named(manufacturer, serial_number, idevid_issuer),)  # it may answer by key alone
    if not records:
        raise DeviceUnknown(f"{manufacturer.name} has no record of {serial_number}")
    standing = [r for r in records if r.status is DeviceStatus.ACTIVE]
    if not standing:
        check_status(records[0])
    return tuple(
        dict.fromkeys(
            _judged(record, manufacturer, serial_number, idevid_issuer, now) for record in standing
        )
    )


def _judged(
    record: DeviceRecord,
    manufacturer: Manufacturer,
    serial_number: str,
    idevid_issuer: bytes | None,
    now: datetime,
) -> Announced:
    established = judge_record(
        record,
        manufacturer,
        serial_number=serial_number,
        idevid_issuer=idevid_issuer,
        spki=record.spki,
        now=now,
    ).established
    masa_url = manufacturer.masa_url_of(established.idevid)
    if masa_url is None:
        raise DeviceUnknown(f"no MASA is known for {established.device}")
    return Announced(device=established.device, manufacturer=manufacturer.name, masa_url=masa_url)


def _named(
    manufacturer: Manufacturer, serial_number: str, idevid_issuer: bytes | None
) -> Announced:
    if idevid_issuer is None or manufacturer.masa_url is None:
        raise DeviceUnknown(
            f"{manufacturer.name} has no records that tell of {serial_number}",
            hint="say --issuer, and set url in [manufacturer.masa]",
        )
    return Announced(
        device=DeviceKey(idevid_issuer, serial_number),
        manufacturer=manufacturer.name,
        masa_url=masa_base_url(manufacturer.masa_url),
    )
