"""Published certificates, validated at their own date."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import ChainInvalid
from brski.pki.chain import TrustAnchors, validate_to_pin
from brski.pki.keys import parse_certificate, parse_pem_certificates
from tests.kit import pki

APPENDIX_C = datetime(2021, 6, 1, tzinfo=UTC)


def _published(vectors: Path, name: str) -> x509.Certificate:
    return parse_pem_certificates((vectors / "rfc8995-appC" / name).read_bytes())[0]


def test_published_chains_of_rfc_8995_appendix_c(vectors: Path) -> None:
    vendor = _published(vectors, "vendor.crt")
    owner = _published(vectors, "ownerca_secp384r1.crt")
    idevid = _published(vectors, "idevid_00-D0-E5-F2-00-02.crt")
    masa = _published(vectors, "masa.crt")
    jrc = _published(vectors, "jrc_prime256v1.crt")
    for leaf, anchor in ((idevid, vendor), (masa, vendor), (jrc, owner)):
        assert TrustAnchors([anchor]).validate(leaf, (), at=APPENDIX_C) == (leaf, anchor)
        assert TrustAnchors([anchor]).validate_without_clock(leaf, ()) == (leaf, anchor)
        with pytest.raises(ChainInvalid):
            TrustAnchors([anchor]).validate(leaf, (), at=pki.NOW)
    with pytest.raises(ChainInvalid):
        TrustAnchors([owner]).validate(idevid, (), at=APPENDIX_C)


def test_published_vendor_of_the_same_name_is_another(vectors: Path) -> None:
    """The draft's folder has a CA of the same name that has not issued these certificates."""
    (other,) = parse_pem_certificates(
        (vectors / "rfc8366bis-cms" / "vendor-00-D0-E5-F2-00-02.crt").read_bytes()
    )
    idevid = _published(vectors, "idevid_00-D0-E5-F2-00-02.crt")
    at = datetime(2021, 5, 1, tzinfo=UTC)
    with pytest.raises(ChainInvalid):
        TrustAnchors([other]).validate(idevid, (), at=at)
    path = TrustAnchors([other, _published(vectors, "vendor.crt")]).validate(idevid, (), at=at)
    assert path[-1] == _published(vectors, "vendor.crt")


def test_published_chains_of_constrained_voucher(vectors: Path) -> None:
    folder = vectors / "cbrski-cose"
    read = {
        name: parse_certificate((folder / f"{name}.der").read_bytes())
        for name in ("pledge", "registrar", "masa_ca", "domain_ca")
    }
    for leaf, anchor in (("pledge", "masa_ca"), ("registrar", "domain_ca")):
        at = read[leaf].not_valid_before_utc + timedelta(days=1)
        assert TrustAnchors([read[anchor]]).validate(read[leaf], (), at=at)
        validate_to_pin([read[leaf]], read[anchor], at=at)
