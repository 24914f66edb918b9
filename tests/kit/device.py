"""Devices for tests: fuses, identities, and what a pledge is told in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from brski import registry
from brski.est.certs_only import encode_certs_only
from brski.est.transfer import encode_base64
from brski.idevid.record import Presentation
from brski.pki import signatures
from brski.seed.profiles import profile
from brski.seed.secret import Seed
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion, Voucher, VoucherRequest
from brski.voucher.yang_json import encode_voucher
from device_client.identity.from_seed import Fuse, SeedIdentity
from device_client.pledge.policy import Pledge, Policy
from device_client.pledge.states import Answer
from tests.kit import pki

SEED = bytes(range(32))
CHIP_ID = bytes.fromhex("c0ffee01")
PROFILE = "hmac-drbg-p256"


def derived_key(seed: bytes = SEED, chip_id: bytes = CHIP_ID) -> signatures.PrivateKey:
    """The key that the device will derive, as the factory derives it."""
    return profile(PROFILE).derive(Seed(seed), chip_id)


def make_fuse(
    issuer: pki.Entity,
    voucher_anchor: pki.Entity,
    serial_number: str = pki.SERIAL_NUMBER,
    *,
    presentation: Presentation = Presentation.ASSERTED,
    seed: bytes = SEED,
    chip_id: bytes = CHIP_ID,
    **changes: Any,
) -> Fuse:
    """What an honest factory burns, but for *changes*."""
    fuse = Fuse(
        seed=Seed(seed),
        chip_id=chip_id,
        serial_number=serial_number,
        idevid_issuer=pki.key_identifier(issuer.private_key.public_key()),
        derivation_profile=PROFILE,
        voucher_anchors=(voucher_anchor.certificate,),
    )
    if presentation is Presentation.CARRIED:
        idevid = make_idevid(issuer, serial_number, seed=seed, chip_id=chip_id)
        fuse = replace(fuse, certificates=(idevid.certificate, *idevid.intermediates))
    return replace(fuse, **changes)


def make_idevid(
    issuer: pki.Entity,
    serial_number: str = pki.SERIAL_NUMBER,
    *,
    seed: bytes = SEED,
    chip_id: bytes = CHIP_ID,
    **knobs: Any,
) -> pki.Entity:
    """The IDevID that the factory makes of the same seed."""
    return pki.make_idevid(issuer, serial_number, key=derived_key(seed, chip_id), **knobs)


@dataclass(frozen=True, kw_only=True)
class World:
    """Manufacturer, domain and what they would say to one pledge, in memory."""

    oem: pki.Entity
    masa_root: pki.Entity
    masa: pki.Entity
    owner_root: pki.Entity
    owner: pki.Entity
    registrar: pki.Entity

    @classmethod
    def make(cls) -> World:
        masa_root = pki.make_root("Example MASA Root")
        owner_root = pki.make_root("Owner Root")
        owner = pki.make_ca("Owner CA", owner_root)
        return cls(
            oem=pki.make_pki(),
            masa_root=masa_root,
            masa=pki.make_masa_signer(masa_root),
            owner_root=owner_root,
            owner=owner,
            registrar=pki.make_registrar(owner),
        )

    @property
    def presented(self) -> tuple[x509.Certificate, ...]:
        """What the registrar shows in TLS: its own certificate and the CA's."""
        return self.registrar.chain[:-1]

    def identity(self, presentation: Presentation = Presentation.ASSERTED) -> SeedIdentity:
        fuse = make_fuse(self.oem, self.masa_root, presentation=presentation)
        return SeedIdentity(fuse)

    def pledge(self, presentation: Presentation = Presentation.ASSERTED, **policy: Any) -> Pledge:
        identity = self.identity(presentation)
        return Pledge(
            serial_number=identity.serial_number,
            idevid_issuer=identity.idevid_issuer,
            signer=identity.signer(),
            idevid_chain=identity.client_chain if identity.carried else (),
            voucher_anchors=identity.voucher_anchors,
            serialization=CMS,
            policy=Policy(**policy),
        )

    def voucher_for(self, request: VoucherRequest, **changes: Any) -> Voucher:
        """An honest voucher that pins the owner's root, but for *changes*."""
        values: dict[str, Any] = {
            "serial_number": request.serial_number,
            "assertion": Assertion.PROXIMITY,
            "created_on": pki.NOW,
            "nonce": request.nonce,
            "pinned_domain_cert": self.owner_root.der,
        }
        return Voucher(**values | changes)

    def signed(
        self,
        voucher: Voucher,
        signer: pki.Entity | None = None,
        *,
        certificates: tuple[x509.Certificate, ...] | None = None,
        signing_time: datetime | None = pki.NOW,
    ) -> bytes:
        """*voucher* as the MASA signs it, or as somebody else does."""
        by = signer or self.masa
        enclosed = by.chain[:-1] if certificates is None else certificates
        return CMS.sign(
            encode_voucher(voucher), by.signer, certificates=enclosed, signing_time=signing_time
        )

    def voucher_answer(self, request: VoucherRequest, **changes: Any) -> Answer:
        body = self.signed(self.voucher_for(request, **changes))
        return Answer(status=200, body=body, media_type=registry.VOUCHER_CMS_JSON)

    def ca_certs_answer(self) -> Answer:
        body = encode_base64(encode_certs_only(self.owner.chain))
        return Answer(status=200, body=body, media_type=registry.PKCS7_MIME)

    def ldevid_answer(self, csr: bytes, **knobs: Any) -> Answer:
        """The owner's CA certifies whatever is asked for."""
        request = x509.load_der_x509_csr(csr)
        ldevid = certify_public(self.owner, request.subject, request.public_key(), **knobs)
        body = encode_base64(encode_certs_only([ldevid]))
        return Answer(status=200, body=body, media_type=registry.PKCS7_MIME)


def certify_public(
    issuer: pki.Entity,
    subject: x509.Name,
    public_key: Any,
    *,
    not_before: datetime = pki.NOT_BEFORE,
    not_after: datetime = pki.NOT_AFTER,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """A certificate for a key whose private half somebody else has."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer.private_key, hashes.SHA256())
