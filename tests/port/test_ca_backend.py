"""What every CA back-end promises; the embedded one is checked by openssl too."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.errors import CertificateUnsound, KeyUnusable, StateError
from brski.pki.extensions import has_extended_key_usage
from brski.pki.keys import encode_spki, spki_of
from brski.pki.names import ldevid_subject
from brski.registry import ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import CABackend, LDevIDRequest
from tests.kit import pki
from tests.kit.programs import require_program

ISSUER = bytes(range(20))


def request(kind: str = "P-256") -> LDevIDRequest:
    key = pki.make_key(kind).public_key()
    return LDevIDRequest(
        idevid_issuer=ISSUER,
        serial_number="SN-1",
        csr=b"",
        public_key=key,
        subject=ldevid_subject("SN-1", ISSUER),
    )


@pytest.fixture(params=["P-256", "P-384", "Ed25519"])
def owner(request: pytest.FixtureRequest) -> pki.Entity:
    return pki.make_pki("Example Owner", levels=3, kind=request.param, not_after=pki.NOT_AFTER)


@pytest.fixture
def ca(owner: pki.Entity) -> CABackend:
    return EmbeddedCA(owner.signer, validity_days=90)


async def complete(ca: CABackend, octets: bytes) -> x509.Certificate:
    issued = await ca.complete(octets)
    assert isinstance(issued, x509.Certificate)
    return issued


async def test_the_certificate_is_what_was_prepared(ca: CABackend) -> None:
    """The octets of the intent are the certificate's TBSCertificate."""
    octets = ca.prepare(request(), now=pki.NOW)
    assert (await complete(ca, octets)).tbs_certificate_bytes == octets


async def test_one_intent_gives_one_certificate(ca: CABackend) -> None:
    """Completed again, after a restart too, it is the same certificate to the octet."""
    octets = ca.prepare(request(), now=pki.NOW)
    assert await complete(ca, octets) == await complete(ca, octets)


async def test_the_certificate_says_what_was_asked(ca: CABackend) -> None:
    """Subject, key, validity, usages and identifiers; nothing more."""
    asked = request()
    issued = await complete(ca, ca.prepare(asked, now=pki.NOW))
    assert issued.subject == asked.subject
    assert spki_of(issued) == encode_spki(asked.public_key)
    assert issued.not_valid_before_utc <= pki.NOW
    assert issued.not_valid_after_utc == pki.NOW + timedelta(days=90)
    assert has_extended_key_usage(issued, ID_KP_CLIENT_AUTH)
    assert not has_extended_key_usage(issued, ID_KP_SERVER_AUTH)
    constraints = issued.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert len(issued.extensions) == 5


async def test_openssl_verifies_the_certificate(ca: CABackend, tmp_path: Path) -> None:
    """Another implementation follows the chain and takes it for a TLS client's."""
    issued = await complete(ca, ca.prepare(request(), now=pki.NOW))
    chain = ca.ca_certificates()
    (tmp_path / "leaf.pem").write_bytes(issued.public_bytes(Encoding.PEM))
    (tmp_path / "sub.pem").write_bytes(chain[0].public_bytes(Encoding.PEM))
    (tmp_path / "root.pem").write_bytes(chain[-1].public_bytes(Encoding.PEM))
    done = subprocess.run(
        [
            require_program("openssl", "openssl"),
            *("verify", "-x509_strict", "-purpose", "sslclient"),
            *("-attime", str(int(pki.NOW.timestamp()))),
            *("-CAfile", "root.pem", "-untrusted", "sub.pem", "leaf.pem"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_serial_numbers_differ(ca: CABackend) -> None:
    """Two certificates of one request have different serial numbers of 20 octets."""
    numbers = {
        (await complete(ca, ca.prepare(request(), now=pki.NOW))).serial_number for _ in range(8)
    }
    assert len(numbers) == 8
    assert all(number.bit_length() == 159 for number in numbers)


async def test_no_certificate_outlives_its_issuer(owner: pki.Entity) -> None:
    """Its end is the issuing certificate's at the latest, and after that nothing is issued."""
    ca = EmbeddedCA(owner.signer, validity_days=36_500)
    issued = await complete(ca, ca.prepare(request(), now=pki.NOW))
    assert issued.not_valid_after_utc == owner.certificate.not_valid_after_utc
    with pytest.raises(KeyUnusable, match="expired"):  # ours to mend: no fault of the device's
        ca.prepare(request(), now=owner.certificate.not_valid_after_utc)


async def test_dates_beyond_2049_are_generalized_time() -> None:
    """RFC 5280 §4.1.2.5: from 2050 on the other type, and the value is the same."""
    owner = pki.make_pki("Example Owner", levels=2)
    ca = EmbeddedCA(owner.signer, validity_days=36_500)
    issued = await complete(ca, ca.prepare(request(), now=datetime(2026, 1, 1, tzinfo=UTC)))
    assert issued.not_valid_after_utc.year > 2100


async def test_the_intent_of_another_ca_is_not_signed(ca: CABackend) -> None:
    """An intent from before the CA was exchanged is not completed under the new name."""
    other = EmbeddedCA(pki.make_pki("Another Owner").signer)
    with pytest.raises(StateError):
        await ca.complete(other.prepare(request(), now=pki.NOW))


async def test_damaged_intent_is_told(ca: CABackend) -> None:
    """What is no TBSCertificate any more becomes no certificate."""
    with pytest.raises(CertificateUnsound):
        await ca.complete(ca.prepare(request(), now=pki.NOW)[:-1])


@pytest.mark.parametrize("usage", [None, ("digital_signature",)])
def test_a_key_that_may_not_certify_is_refused(usage: tuple[str, ...] | None) -> None:
    """An end-entity certificate, or a CA without keyCertSign, does not become an issuing CA."""
    root = pki.make_root()
    if usage is None:
        entity = pki.make_server(root)
    else:
        entity = pki.make_ca("Example CA", root, key_usage=pki.key_usage(*usage))
    with pytest.raises(KeyUnusable):
        EmbeddedCA(entity.signer)
