"""The journal's statements as SQL text, made once of the schema's tables.

A row of ``onboardings`` changes four times in a device's life and stays small for that: what was
received and signed stands once, in ``artifacts`` and ``intents``, and is joined to it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, insert, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert as insert_unless

from brski.edge.sql import sql_of
from registrar_plugin.store.port import IntentKind
from registrar_plugin.store.schema import ARTIFACTS, CERTIFICATES, EVENTS, INTENTS, ONBOARDINGS

_ACTIVE: Final[ColumnElement[str]] = literal_column("'active'")
_o = ONBOARDINGS.c
_i = INTENTS.c
_c = CERTIFICATES.c
_OF_DEVICE: Final = and_(
    _o.idevid_issuer == bindparam("issuer"), _o.serial_number == bindparam("serial")
)
_KEY: Final = ("idevid_issuer", "serial_number")
_PLEDGE_REQUESTS: Final = ARTIFACTS.alias("p")
_VOUCHERS: Final = ARTIFACTS.alias("v")
_WHOLE_ONBOARDING: Final = select(
    ONBOARDINGS,
    _PLEDGE_REQUESTS.c.octets.label("pledge_request"),
    _VOUCHERS.c.octets.label("voucher"),
    _i.result.label("registrar_request"),
).select_from(
    ONBOARDINGS.join(_PLEDGE_REQUESTS, _PLEDGE_REQUESTS.c.id == _o.pledge_request_id)
    .outerjoin(_VOUCHERS, _VOUCHERS.c.id == _o.voucher_id)
    .outerjoin(
        INTENTS,
        and_(
            _i.kind == literal_column(f"'{IntentKind.REGISTRAR_VOUCHER_REQUEST}'"),
            _i.idevid_issuer == _o.idevid_issuer,
            _i.serial_number == _o.serial_number,
            _i.request_digest == _o.request_digest,
        ),
    )
)
GET_ONBOARDING: Final = sql_of(_WHOLE_ONBOARDING.where(_OF_DEVICE))
GET_ONBOARDING_DIGEST: Final = sql_of(select(_o.request_digest).where(_OF_DEVICE))
GET_ONBOARDING_BY_KEY: Final = sql_of(
    _WHOLE_ONBOARDING.where(_o.idevid_spki_sha256 == bindparam("spki"))
)
_new: Final = insert_unless(ONBOARDINGS)
PUT_ONBOARDING: Final = sql_of(  # in place of the device's former one
    _new.on_conflict_do_update(
        index_elements=_KEY,
        set_={c.name: _new.excluded[c.name] for c in ONBOARDINGS.columns if c.name not in _KEY},
    )
)
_THIS_ONBOARDING: Final = and_(_OF_DEVICE, _o.request_digest == bindparam("digest"))
SET_VOUCHER: Final = sql_of(
    update(ONBOARDINGS)
    .where(_THIS_ONBOARDING)
    .values(voucher_id=bindparam("artifact"), voucher_media_type=bindparam("media_type"))
)
SET_STATUS: Final = sql_of(
    update(ONBOARDINGS).where(_THIS_ONBOARDING).values(voucher_status=bindparam("accepted"))
)
SET_VERDICT: Final = sql_of(
    update(ONBOARDINGS)
    .where(_THIS_ONBOARDING)
    .values(audit_verdict=bindparam("good"), audit_reason=bindparam("reason"))
)
GET_INTENT: Final = sql_of(
    select(INTENTS).where(
        _i.kind == bindparam("kind_"),
        _i.idevid_issuer == bindparam("issuer"),
        _i.serial_number == bindparam("serial"),
        _i.request_digest == bindparam("digest"),
    )
)
OPEN_INTENTS: Final = sql_of(select(INTENTS).where(_i.result.is_(None)).order_by(_i.id))
PUT_INTENT: Final = sql_of(insert_unless(INTENTS).on_conflict_do_nothing())
GET_RESULT: Final = sql_of(select(_i.result).where(_i.id == bindparam("intent_id")))
SET_RESULT: Final = sql_of(
    update(INTENTS)
    .where(_i.id == bindparam("intent_id"), _i.result.is_(None))
    .values(result=bindparam("octets_"))
)
PUT_EVENT: Final = sql_of(insert(EVENTS))
PUT_ARTIFACT: Final = sql_of(insert(ARTIFACTS))
PUT_CERTIFICATE: Final = sql_of(insert(CERTIFICATES))
SUPERSEDE: Final = sql_of(
    update(CERTIFICATES)
    .where(
        _c.idevid_issuer == bindparam("issuer"),
        _c.serial_number == bindparam("serial"),
        _c.state == _ACTIVE,
    )
    .values(state=literal_column("'superseded'"))
)
GET_CERTIFICATE: Final = sql_of(select(CERTIFICATES).where(_c.sha256 == bindparam("digest")))
GET_CERTIFICATE_FOR_CSR: Final = sql_of(
    select(CERTIFICATES).where(
        _c.idevid_issuer == bindparam("issuer"),
        _c.serial_number == bindparam("serial"),
        _c.csr_digest == bindparam("digest"),
    )
)
GET_ACTIVE: Final = sql_of(
    select(CERTIFICATES).where(
        _c.idevid_issuer == bindparam("issuer"),
        _c.serial_number == bindparam("serial"),
        _c.state == _ACTIVE,
    )
)
_a = ARTIFACTS.c
DEVICES: Final = sql_of(  # by way of their requests, which an index finds by the number alone
    select(_o.idevid_issuer, _o.serial_number)
    .where(
        _o.serial_number == bindparam("serial"),
        _o.idevid_issuer.in_(
            select(_a.idevid_issuer).where(_a.serial_number == bindparam("serial"))
        ),
    )
    .order_by(_o.idevid_issuer)
)
