"""Builds a MASA from its settings and serves it on its two listeners."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from brski.edge.serve import Listener, serve
from brski.edge.signers.file import load_signer
from brski.edge.signers.key import KeySigner
from brski.edge.tls_server import server_context
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMSSerialization
from masa_stub.issue import IssuePolicy
from masa_stub.masa import MASA
from masa_stub.settings import MASASettings
from masa_stub.store import AuditStore
from masa_stub.web.management import management_app
from masa_stub.web.registrar_facing import registrar_facing_app

log = logging.getLogger(__name__)

_EPHEMERAL_LIFE = timedelta(days=30)


async def serve_masa(
    settings: MASASettings,
    *,
    announce: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 - the edge
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        announce: print the addresses as one line of JSON once both listeners are open.
        clock: aware UTC.

    Raises:
        LocalError: a key, file or address that cannot be used.
        Unavailable: a disk that fails.
    """
    log.warning("this MASA is for laboratories and tests; it can be made to misbehave")
    signer = _signer(settings, clock())
    policy = IssuePolicy(
        pin=settings.policy.pin,
        allow_logged=settings.policy.allow_logged,
        refused=frozenset(settings.policy.refused),
    )
    async with AsyncExitStack() as stack:
        records = await settings.place.open_records()
        stack.push_async_callback(records.close)
        store = AuditStore(settings.log)
        stack.push_async_callback(store.close)
        masa = MASA(
            records=records,
            store=store,
            signer=signer,
            serializations={
                VOUCHER_CMS_JSON: CMSSerialization(interoperability=settings.interoperability)
            },
            policy=policy,
            clock=clock,
        )
        anchor = signer.chain[-1].public_bytes(Encoding.PEM)
        await serve(
            [
                Listener(
                    name="registrars",
                    app=registrar_facing_app(masa),
                    listen=settings.listen.registrars,
                    ssl_context=server_context(settings.tls.chain, settings.tls.key),
                ),
                Listener(
                    name="management",
                    app=management_app(store, anchor),
                    listen=settings.listen.management,
                    ssl_context=None,
                ),
            ],
            announce=announce,
        )


def _signer(settings: MASASettings, now: datetime) -> KeySigner:
    if settings.signer is not None:
        return load_signer(settings.signer.key, settings.signer.chain)
    log.warning("no [signer] is set: vouchers are signed by a key that ends with this process")
    return ephemeral_signer(now)


def ephemeral_signer(now: datetime) -> KeySigner:
    """A voucher-signing key that no file holds; its self-signed certificate is the anchor.

    Args:
        now: aware UTC; the certificate is valid for 30 days around and after it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ephemeral MASA, for tests only")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _EPHEMERAL_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeySigner(key, (certificate,))


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
