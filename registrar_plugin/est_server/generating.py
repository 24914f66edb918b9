"""One key made here for a client, read top to bottom: who asks, the key, the certificate, goodbye.

The private key exists in this process while the request is answered and nowhere else: it is in no
file, journal, log or message but the answer. Python cannot wipe its memory (docs/est.md).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from brski.errors import CSRMismatch, NotOffered, Unavailable
from brski.est.csr import build_csr, parse_csr
from brski.est.key_package import (
    check_recipient,
    envelope,
    sign_key_package,
)
from brski.est.key_request import KeyRequest, Protection, parse_key_request
from brski.est.requirements import P256, KeyRequirement
from brski.pki.extensions import key_identifier
from brski.pki.keys import encode_spki, public_key_of_certificate
from brski.pki.signer import PublicKey, Signer
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.enrollee import EnrolleeAuthority
from registrar_plugin.enrollment.judge import judge_csr
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_server.enrolling import recognised
from registrar_plugin.est_server.issuing import Issuer
from registrar_plugin.est_server.key_making import MadeKey, draw, make_key
from registrar_plugin.est_server.order import Order
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.telemetry.events import EventKind

_MADE_HERE: Final = b"serverkeygen v1"
_SECTION: Final = "RFC 7030 §4.4"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAnswer:
    """A private key and its certificate; shows neither when printed."""

    key: bytes = field(repr=False)  # DER: PrivateKeyInfo, or ContentInfo where it is encrypted
    encrypted: bool
    certificate: bytes = field(repr=False)  # certs-only CMS, DER


class Generating:
    """serverkeygen under one profile.

    Args:
        authorities: as for :class:`~registrar_plugin.est_server.enrolling.Enrolling`.
        signer: signs encrypted key packages: the registrar's own.
    """

    def __init__(
        self,
        *,
        profile: EnrollmentProfile,
        authorities: Sequence[EnrolleeAuthority],
        issuer: Issuer,
        signer: Signer,
        devices: KnownDevices,
        second_use: SecondUse,
        clerk: Clerk,
    ) -> None:
        self._profile = profile
        self._authorities = authorities
        self._issuer = issuer
        self._signer = signer
        self._devices = devices
        self._second_use = second_use
        self._clerk = clerk

    async def generate(self, csr_der: bytes, connection: PledgeConnection) -> KeyAnswer:
        """Make a key for a client that the profile admits, and have it certified.

        A request that comes again gets another key: the one before was not kept.

        Args:
            csr_der: PKCS #10, DER; neither its key nor its signature counts (RFC 7030 §4.4.1).

        Raises:
            NotOffered: by this profile, or by a CA that does not decide at once.
            OnboardingError: the gate that the request did not pass; it is in the journal already.

        RFC 7030 §4.4.
        """
        async with self._clerk.refusals(EventKind.SERVER_KEY, connection):
            _, enrollee = await recognised(self._authorities, connection)
        async with (
            self._devices.lock(enrollee.device),
            self._clerk.refusals(EventKind.SERVER_KEY, connection, enrollee.device),
        ):
            if not self._profile.server_keys:
                raise NotOffered("this profile makes no keys for its clients", section=_SECTION)
            authority, enrollee = await recognised(self._authorities, connection)
            await authority.check(enrollee, connection)
            request = parse_key_request(csr_der)
            recipient = _recipient(request, connection)
            made = await asyncio.to_thread(make_key, self._kind())
            csr = parse_csr(_csr_for(made, request))
            names = judge_csr(
                csr, enrollee, self._profile, channel_binding=connection.channel_binding
            )
            await authority.confirm(enrollee, connection)
            key = hashlib.sha256(csr.spki).digest()
            order = Order(
                device=enrollee.device,
                names=names,
                csr=csr,
                request_digest=hashlib.sha256(_MADE_HERE + request.digest + key).digest(),
                issuance=Issuance(
                    label=self._profile.label, enrollee=enrollee.kind, key_made_here=True
                ),
            )
            alarms = await self._second_use.of_csr(enrollee.device, key, connection)
            certificate = await self._issuer.issue(order, connection, *alarms)
            if isinstance(certificate, Pending):
                raise Unavailable("the CA does not decide at once, and no key is kept for it")
            return self._answer(made, recipient, request.protection, certificate)

    def _kind(self) -> KeyRequirement:
        keys = self._profile.requirements.keys
        return keys[0] if keys else P256

    def _answer(
        self,
        made: MadeKey,
        recipient: PublicKey | None,
        protection: Protection | None,
        certificate: bytes,
    ) -> KeyAnswer:
        pkcs8 = made.pkcs8()
        if recipient is None or protection is None:
            return KeyAnswer(key=pkcs8, encrypted=False, certificate=certificate)
        sealed = envelope(
            sign_key_package(pkcs8, self._signer),
            recipient,
            protection.cipher,
            draw(recipient, protection.cipher),
        )
        return KeyAnswer(key=sealed, encrypted=True, certificate=certificate)


def _csr_for(made: MadeKey, request: KeyRequest) -> bytes:
    """What the client would have sent, had it made this key."""
    return build_csr(
        made,
        request.subject,
        extensions=request.extensions,
        challenge_password=request.challenge_password,
    )


def _recipient(request: KeyRequest, connection: PledgeConnection) -> PublicKey | None:
    """The client's key that its request names: its CSR's, or its TLS certificate's.

    Possession of both is proven: of one by the CSR's signature, of the other by TLS.
    """
    if request.protection is None:
        return None
    wanted = request.protection.key_identifier
    for key in (request.own_key, _tls_key(connection)):
        if key is not None and key_identifier(encode_spki(key)) == wanted:
            check_recipient(key)
            return key
    raise CSRMismatch(
        f"no key of the client's has the identifier {wanted.hex()[:80]}: neither the request's, "
        "whose signature must verify then, nor the TLS certificate's",
        section="RFC 7030 §4.4.1.2",
    )


def _tls_key(connection: PledgeConnection) -> PublicKey | None:
    return public_key_of_certificate(connection.leaf()) if connection.peer_chain else None
