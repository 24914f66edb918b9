"""Abuse case 7: CMS with a thousand certificates, five hundred signers, or keys that cost much.

Exactly one SignerInfo, at most 8 certificates, keys of the allow-list alone, at most ten signature
verifications a request; the counter is asserted, for registrar, MASA and pledge.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from brski.errors import ChainInvalid, KeyNotAllowed, Malformed, TooLarge
from brski.pki import der
from brski.pki.effort import VERIFICATIONS_LIMIT, counted
from brski.pki.keys import certificate_der
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski.voucher.rules import registrar_request
from brski.voucher.yang_json import encode_voucher_request
from tests.abuse.desk import RECEIVERS, Desk
from tests.kit import pki
from tests.kit.voucher import cms, explicit_octets, signer_info


@lru_cache(maxsize=1)
def small_certificates() -> tuple[bytes, ...]:
    """Two hundred, of about three hundred octets each, all of one name."""
    key = pki.make_key()
    return tuple(
        pki.certify(pki.common_name("X"), key=key, ski=False, aki=False).der for _ in range(200)
    )


@lru_cache(maxsize=1)
def rsa_16384() -> rsa.RSAPublicKey:
    """A modulus of that length; its factors are nobody's business."""
    modulus = int.from_bytes(hashlib.shake_256(b"modulus").digest(2048), "big") | 1 << 16383 | 1
    return rsa.RSAPublicNumbers(65537, modulus).public_key()


def _with_certificates(desk: Desk, receiver: str, certificates: tuple[bytes, ...]) -> bytes:
    document = desk.honest(receiver)
    info = signer_info(desk.sender(receiver).signer, document)
    field = der.encode(0xA0, *certificates)
    return cms(info, content=explicit_octets(document), certificates=field)


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_many_certificates(desk: Desk, receiver: str) -> None:
    """Nine are too many, two hundred too; a thousand do not fit into 64 KiB."""
    own = tuple(certificate_der(c) for c in desk.enclosed(receiver))
    eight = own + small_certificates()[: 8 - len(own)]
    await desk.give(receiver, _with_certificates(desk, receiver, eight))
    for certificates in (
        eight + small_certificates()[-1:],
        own + small_certificates(),
        own + small_certificates() * 5,
    ):
        refused = await desk.refusal(receiver, _with_certificates(desk, receiver, certificates))
        assert isinstance(refused.error, TooLarge)
        assert refused.status in (413, None)
        assert refused.spent == 0


@pytest.mark.requirement("SEC-10", "CMS-5")
@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("number", [0, 2, 150])
async def test_many_signers(desk: Desk, receiver: str, number: int) -> None:
    """However right each signature is; five hundred do not fit into 64 KiB."""
    document = desk.honest(receiver)
    info = signer_info(desk.sender(receiver).signer, document)
    message = cms(*(info,) * number, content=explicit_octets(document))
    refused = await desk.refusal(receiver, message)
    assert isinstance(refused.error, Malformed)
    assert refused.spent == 0


def _costly_certificates(issuer: pki.Entity) -> dict[str, x509.Certificate]:
    p521 = pki.certify(pki.common_name("dear"), issuer=issuer, key=pki.make_key("P-521"))
    weak = pki.certify(pki.common_name("weak"), issuer=issuer, key=pki.make_key("RSA-1024"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(pki.common_name("dearest"))
        .issuer_name(issuer.certificate.subject)
        .public_key(rsa_16384())
        .serial_number(1)
        .not_valid_before(pki.NOT_BEFORE)
        .not_valid_after(pki.NOT_AFTER)
    )
    dearest = pki._sign(builder, issuer.private_key, None, True)
    return {"P-521": p521.certificate, "RSA-1024": weak.certificate, "RSA-16384": dearest}


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("kind", ["P-521", "RSA-1024", "RSA-16384"])
async def test_costly_and_weak_keys_verify_nothing(desk: Desk, kind: str) -> None:
    """As a TLS client's, and as the signer's of each message."""
    world, device = desk.world, desk.device
    costly = _costly_certificates(world.oem)[kind]
    body = device.request(world.registrar_entity.certificate)
    with counted() as effort, pytest.raises(KeyNotAllowed):
        await world.registrar.request_voucher(
            body, VOUCHER_CMS_JSON, world.connection([costly, *device.shown[1:]])
        )
    assert effort.spent == 0
    for receiver in ("masa", "pledge"):
        signer = pki.KeySigner(desk.sender(receiver).private_key, (costly,))
        message = CMS.sign(desk.honest(receiver), signer, certificates=(costly,))
        refused = await desk.refusal(receiver, message)
        assert isinstance(refused.error, (ChainInvalid, KeyNotAllowed))
        assert refused.spent == 0


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("receiver", ["masa", "pledge"])
async def test_eight_issuers_of_one_name(desk: Desk, receiver: str) -> None:
    """Each could have issued the signer's certificate, by its name; one of them has.

    The search ends at ten verifications, by the counter, wherever it stands then.
    """
    keys = [pki.make_key() for _ in range(7)]
    storm = [pki.make_ca("Storm", None, key=key, ski=False, aki=False) for key in keys]
    rogue = pki.make_masa_signer(None, issuer_name=storm[0].certificate.subject, aki=False)
    rogue = replace(rogue, issuers=tuple(s.certificate for s in storm))
    signer = pki.KeySigner(rogue.private_key, rogue.chain)
    message = CMS.sign(desk.honest(receiver), signer, certificates=rogue.chain)
    refused = await desk.refusal(receiver, message)
    assert isinstance(refused.error, (ChainInvalid, TooLarge))


@pytest.mark.requirement("SEC-10", "MASA-6")
async def test_the_longest_honest_message_is_within_the_limit(desk: Desk) -> None:
    """A registrar under seven CAs, with the device's own request: ten verifications, and taken."""
    domain = pki.make_root("Deep")
    for level in range(6):
        domain = pki.make_ca(f"Deep {level}", domain)
    registrar = pki.make_registrar(domain)
    assert len(registrar.chain) == 8
    signed = desk.device.sign(
        encode_voucher_request(
            replace(desk.request, proximity_registrar_cert=registrar.der),
        )
    )
    asked = registrar_request(
        desk.request,
        signed,
        serial_number=desk.device.serial_number,
        idevid_issuer=desk.device.issuer,
        created_on=pki.NOW,
    )
    message = CMS.sign(
        encode_voucher_request(asked), registrar.signer, certificates=registrar.chain
    )
    with counted() as effort:
        await desk.give("masa", message)
    assert effort.spent == VERIFICATIONS_LIMIT
