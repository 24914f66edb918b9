"""Builds a MASA from its settings and serves it on its two listeners."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.accept import AddressCap
from brski.edge.serve import Listener, serve
from brski.edge.signers.file import load_signer
from brski.edge.tls_server import server_context
from brski.errors import KeyUnusable
from brski.pki.keys import spki_sha256
from brski.rates import Rate, subnet_of
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMSSerialization
from masa_stub.audit import AuditPolicy
from masa_stub.customer_files import CustomerFiles
from masa_stub.ephemeral import ephemeral_signer
from masa_stub.faults.plan import FaultPlan
from masa_stub.issue import IssuePolicy
from masa_stub.masa import MASA
from masa_stub.passwords import Account, Passwords, load_password
from masa_stub.port import Signers
from masa_stub.rates import RegistrarRates
from masa_stub.settings import MASASettings, RatesSettings
from masa_stub.store.log import AuditStore
from masa_stub.store.sales import SalesBook
from masa_stub.store.schema import open_store
from masa_stub.web.desk import Desk
from masa_stub.web.faults import Misbehaviour
from masa_stub.web.locations import Locations
from masa_stub.web.management import management_app
from masa_stub.web.registrar_facing import registrar_facing_app

log = logging.getLogger(__name__)


async def serve_masa(
    settings: MASASettings,
    *,
    announce: bool = False,
    plan: FaultPlan | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 - the edge
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        announce: print the addresses as one line of JSON once both listeners are open.
        plan: how to misbehave; None allows no fault at all.
        clock: aware UTC.

    Raises:
        LocalError: a key, file or address that cannot be used.
        Unavailable: a disk that fails.
    """
    log.warning("this MASA is for laboratories and tests; it can be made to misbehave")
    if plan is not None:
        rates = ",".join(f"{rate.fault.value}={rate.share:.3%}" for rate in plan.rates)
        log.warning("THIS MASA MISBEHAVES ON PURPOSE", extra={"seed": plan.seed, "chaos": rates})
    signers = load_signers(settings, clock())
    passwords = load_passwords(settings)
    async with AsyncExitStack() as stack:
        records = await settings.place.open_records()
        stack.push_async_callback(records.close)
        writer = open_store(settings.log)
        stack.push_async_callback(writer.close)
        store, sales = AuditStore(writer), SalesBook(writer)
        serializations = {
            VOUCHER_CMS_JSON: CMSSerialization(interoperability=settings.interoperability)
        }
        masa = MASA(
            records=records,
            store=store,
            sales=sales,
            signers=signers,
            serializations=serializations,
            policy=issue_policy(settings),
            clock=clock,
            customers=CustomerFiles(settings.customer),
            audit=AuditPolicy(
                most=settings.audit_log.most,
                only_authenticated=settings.audit_log.only_authenticated,
            ),
            rates=registrar_rates(settings.rates),
        )
        locations = Locations(time.monotonic) if settings.audit_log.location else None
        faults = Misbehaviour(
            plan,
            serializations=serializations,
            signers=signers,
            stranger=ephemeral_signer(clock()),
            clock=clock,
        )
        desk = Desk(
            store=store,
            sales=sales,
            records=records,
            clock=clock,
            faults=faults,
            anchors_pem=b"".join(c.public_bytes(Encoding.PEM) for c in signers.anchors),
        )
        await serve(
            [
                Listener(
                    name="registrars",
                    app=registrar_facing_app(masa, passwords, faults, locations),
                    listen=settings.listen.registrars,
                    ssl_context=server_context(settings.tls.chain, settings.tls.key),
                    cap=AddressCap(
                        connections=settings.listen.connections_per_address, group=subnet_of
                    ),
                ),
                Listener(
                    name="management",
                    app=management_app(desk),
                    listen=settings.listen.management,
                    ssl_context=None,
                ),
            ],
            announce=announce,
        )


def issue_policy(settings: MASASettings) -> IssuePolicy:
    """The policy that *settings* spell out."""
    policy, nonceless = settings.policy, settings.nonceless
    return IssuePolicy(
        pin=policy.pin,
        pin_nonceless=policy.pin_nonceless,
        life=None if nonceless.no_end else timedelta(seconds=nonceless.life_s),
        unsold=policy.unsold,
        allow_logged=policy.allow_logged,
        asserting_without_request=policy.asserting_without_request,
        refused=frozenset(policy.refused),
    )


def registrar_rates(settings: RatesSettings) -> RegistrarRates:
    """The budgets that *settings* give every registrar."""
    requests, refusals = settings.requests_per_s, settings.refusals_per_s
    return RegistrarRates(
        time.monotonic,
        requests=Rate(per_s=requests, burst=max(1.0, 2 * requests)),
        refusals=Rate(per_s=refusals, burst=max(1.0, 200 * refusals)),
    )


def load_passwords(settings: MASASettings) -> Passwords:
    """The accounts of all customers that have one.

    Raises:
        FileUnusable, KeyUnusable: a password's file cannot be used.
    """
    return Passwords(
        {
            customer.user: Account(
                customer=customer.name, password=load_password(customer.password_file)
            )
            for customer in settings.customer
            if customer.user is not None and customer.password_file is not None
        }
    )


def load_signers(settings: MASASettings, now: datetime) -> Signers:
    """The keys that sign vouchers.

    Raises:
        FileUnusable, KeyUnusable: a key cannot be used, or both are one.
    """
    if settings.signer is None:
        log.warning("no [signer] is set: vouchers are signed by a key that ends with this process")
        usual = ephemeral_signer(now)
    else:
        usual = load_signer(settings.signer.key, settings.signer.chain)
    if settings.nonceless_signer is None:
        return Signers(usual=usual)
    nonceless = load_signer(settings.nonceless_signer.key, settings.nonceless_signer.chain)
    if spki_sha256(nonceless.chain[0]) == spki_sha256(usual.chain[0]):
        raise KeyUnusable(
            "[nonceless_signer] has the key of [signer]", section="RFC 8995 §11.6.2.2"
        )
    return Signers(usual=usual, nonceless=nonceless)
