"""CMS with OpenSSL at the other end: its tool reads what is written here, and the other way."""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from brski.errors import Malformed, SignatureInvalid, UnknownFormat
from brski.voucher.cms import CMS
from brski.voucher.yang_json import encode_voucher_request
from tests.conftest import require_program
from tests.kit import pki
from tests.kit.voucher import LENIENT, pledge_request

OEM = pki.make_pki()
REGISTRAR = pki.make_registrar(pki.make_root("Example Domain CA"))
PAYLOAD = encode_voucher_request(pledge_request(REGISTRAR))
JSON_VOUCHER = "1.2.840.113549.1.9.16.1.40"

# What `openssl cms -sign` needs so that digest and key go together as RFC 5754 would have it.
DIGESTS = {"P-256": "sha256", "P-384": "sha384", "RSA-2048": "sha256"}


@pytest.fixture
def openssl() -> str:
    return require_program("openssl", "openssl")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run to the end; the caller looks at the outcome."""
    return subprocess.run([str(a) for a in arguments], capture_output=True, check=False, timeout=60)


def write_pem(path: Path, entity: pki.Entity) -> Path:
    """The entity's chain without its root, leaf first."""
    path.write_bytes(entity.chain_pem)
    return path


def verify(
    openssl: str, folder: Path, message: bytes, anchor: pki.Entity, *extra: str | Path
) -> subprocess.CompletedProcess[bytes]:
    """Have OpenSSL verify *message* to the root of *anchor*, at the fixed date."""
    root = folder / "root.pem"
    root.write_bytes(anchor.root.public_bytes(Encoding.PEM))
    (folder / "message.cms").write_bytes(message)
    return run(
        openssl, "cms", "-verify", "-inform", "DER", "-in", folder / "message.cms",
        "-purpose", "any", "-binary", "-CAfile", root, "-attime", str(int(pki.NOW.timestamp())),
        *extra,
    )  # fmt: skip


@pytest.mark.requirement("CMS-1", "CMS-2", "CMS-4", "CMS-5", "CMS-6", "CMS-7")
@pytest.mark.parametrize("by_key", [False, True], ids=["by-name", "by-key"])
@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-2048"])
@pytest.mark.parametrize("signing_time", [None, pki.NOW], ids=["timeless", "timed"])
def test_openssl_verifies_what_is_signed_here(
    openssl: str, tmp_path: Path, kind: str, by_key: bool, signing_time: datetime | None
) -> None:
    """With the chain enclosed: signature, chain and payload; under another root it does not."""
    device = pki.make_idevid(OEM, kind=kind)
    message = CMS.sign(
        PAYLOAD,
        device.signer,
        certificates=device.chain,
        signing_time=signing_time,
        name_by_key_identifier=by_key,
    )
    done = verify(openssl, tmp_path, message, device)
    assert done.returncode == 0, done.stderr
    assert done.stdout == PAYLOAD
    assert verify(openssl, tmp_path, message, pki.make_pki("Another OEM")).returncode != 0


@pytest.mark.requirement("CMS-1")
@pytest.mark.parametrize("levels", [2, 3])
def test_openssl_verifies_an_asserting_device_with_its_certificate_beside(
    openssl: str, tmp_path: Path, levels: int
) -> None:
    """The signer is not in the message; -certfile finds it by its SubjectKeyIdentifier.

    OpenSSL 3.0 takes the signer from there and no issuers: those have to be in the message, or
    anchors.
    """
    device = pki.make_idevid(pki.make_pki(levels=levels))
    message = CMS.sign(
        PAYLOAD,
        pki.KeySigner(device.private_key),
        certificates=device.intermediates,
        name_by_key_identifier=True,
    )
    idevid = write_pem(tmp_path / "idevid.pem", device)
    done = verify(openssl, tmp_path, message, device, "-certfile", idevid)
    assert done.returncode == 0, done.stderr
    assert done.stdout == PAYLOAD
    other = write_pem(tmp_path / "other.pem", pki.make_idevid(OEM, "SN-0002"))
    for extra in ((), ("-certfile", other)):
        assert verify(openssl, tmp_path, message, device, *extra).returncode != 0


def test_openssl_refuses_what_was_altered(openssl: str, tmp_path: Path) -> None:
    """Both ends agree on a payload that is not what was signed."""
    device = pki.make_idevid(OEM)
    message = CMS.sign(PAYLOAD, device.signer, certificates=device.chain)
    altered = message.replace(b'"SN-0001"', b'"SN-0002"')
    assert altered != message
    assert verify(openssl, tmp_path, altered, device).returncode != 0
    with pytest.raises(SignatureInvalid):
        CMS.open(altered).verify(device.signer.public_key)


def test_openssl_writes_back_the_same_octets(openssl: str, tmp_path: Path) -> None:
    """Parsed and written again by OpenSSL the message is the same: it was DER throughout."""
    device = pki.make_idevid(OEM)
    message = CMS.sign(PAYLOAD, device.signer, certificates=device.chain, signing_time=pki.NOW)
    path = tmp_path / "message.cms"
    path.write_bytes(message)
    done = run(openssl, "cms", "-cmsout", "-inform", "DER", "-in", path, "-outform", "DER")
    assert done.returncode == 0, done.stderr
    assert done.stdout == message


def test_openssl_shows_a_journal_entry(openssl: str, tmp_path: Path) -> None:
    """What is kept before it is signed can be dumped by anybody with the tool."""
    path = tmp_path / "unsigned.cms"
    path.write_bytes(CMS.prepare(PAYLOAD, pki.make_idevid(OEM).signer).encode())
    done = run(openssl, "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", path)
    assert done.returncode == 0, done.stderr
    assert b"eContentType: id-ct-asciiTextWithCRLF" not in done.stdout
    assert JSON_VOUCHER.encode() in done.stdout


def sign(
    openssl: str, folder: Path, device: pki.Entity, digest: str, *extra: str | Path
) -> subprocess.CompletedProcess[bytes]:
    """Have OpenSSL sign the payload as a voucher-request."""
    (folder / "key.pem").write_bytes(device.key_pem)
    (folder / "leaf.pem").write_bytes(device.certificate.public_bytes(Encoding.PEM))
    (folder / "payload").write_bytes(PAYLOAD)
    return run(
        openssl, "cms", "-sign", "-binary", "-in", folder / "payload", "-outform", "DER",
        "-signer", folder / "leaf.pem", "-inkey", folder / "key.pem", "-md", digest,
        *extra,
    )  # fmt: skip


@pytest.mark.requirement("CMS-1", "CMS-2", "CMS-5")
@pytest.mark.parametrize("by_key", [False, True], ids=["by-name", "by-key"])
@pytest.mark.parametrize("kind", sorted(DIGESTS))
def test_what_openssl_signs_is_accepted(
    openssl: str, tmp_path: Path, kind: str, by_key: bool
) -> None:
    """As a peer built on OpenSSL would: signing time, chain, either way to name the signer."""
    device = pki.make_idevid(OEM, kind=kind)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(OEM.certificate.public_bytes(Encoding.PEM))  # OpenSSL adds the signer's own
    done = sign(
        openssl, tmp_path, device, DIGESTS[kind], "-econtent_type", JSON_VOUCHER,
        "-nosmimecap", "-nodetach", "-certfile", chain, *(["-keyid"] if by_key else []),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    signed = CMS.open(done.stdout)
    signed.verify(device.signer.public_key)
    assert signed.payload == PAYLOAD
    assert signed.signing_time is not None
    assert signed.signer_certificate() == device.certificate
    assert set(signed.certificates) == set(device.chain[:-1])


def test_smime_capabilities_do_no_harm(openssl: str, tmp_path: Path) -> None:
    """A signed attribute that is not known here is under the signature and passed over."""
    device = pki.make_idevid(OEM)
    done = sign(
        openssl, tmp_path, device, "sha256", "-econtent_type", JSON_VOUCHER, "-nodetach", "-nocerts"
    )
    assert done.returncode == 0, done.stderr
    signed = CMS.open(done.stdout)
    signed.verify(device.signer.public_key)
    assert signed.certificates == ()


@pytest.mark.requirement("CMS-3")
def test_openssl_without_the_content_type_needs_the_switch(openssl: str, tmp_path: Path) -> None:
    """Its default is id-data, as in all published examples."""
    device = pki.make_idevid(OEM)
    done = sign(openssl, tmp_path, device, "sha256", "-nosmimecap", "-nodetach")
    assert done.returncode == 0, done.stderr
    LENIENT.open(done.stdout).verify(device.signer.public_key)
    with pytest.raises(UnknownFormat):
        CMS.open(done.stdout)


@pytest.mark.parametrize(
    "options",
    [("-noattr", "-nodetach"), ("-nosmimecap",), ("-nosmimecap", "-nodetach", "-stream")],
    ids=["no-attributes", "detached", "streamed-ber"],
)
def test_other_habits_of_openssl_are_refused(
    openssl: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """No signed attributes, a payload elsewhere, BER with indefinite lengths."""
    device = pki.make_idevid(OEM)
    done = sign(openssl, tmp_path, device, "sha256", "-econtent_type", JSON_VOUCHER, *options)
    assert done.returncode == 0, done.stderr
    with pytest.raises(Malformed):
        CMS.open(done.stdout)


def test_two_signers_are_refused(openssl: str, tmp_path: Path) -> None:
    """Each of them alone is accepted."""
    device, other = pki.make_idevid(OEM), pki.make_idevid(OEM, "SN-0002")
    options = ("-econtent_type", JSON_VOUCHER, "-nosmimecap", "-nodetach")
    alone = sign(openssl, tmp_path, device, "sha256", *options)
    CMS.open(alone.stdout).verify(device.signer.public_key)
    (tmp_path / "other.pem").write_bytes(
        other.certificate.public_bytes(Encoding.PEM) + other.key_pem
    )
    both = sign(openssl, tmp_path, device, "sha256", *options, "-signer", tmp_path / "other.pem")
    assert both.returncode == 0, both.stderr
    with pytest.raises(Malformed, match="signerInfos"):
        CMS.open(both.stdout)
