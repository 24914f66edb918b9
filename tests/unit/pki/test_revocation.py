"""What a revocation list says of a certificate."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import CertificateRevoked, Malformed, RevocationUnknown, TooLarge
from brski.pki.revocation import (
    LIST_LIMIT,
    check_not_listed,
    check_not_revoked,
    distribution_points,
    parse_list,
)
from tests.kit import pki
from tests.kit.programs import require_program

CA = pki.make_ca("Owner CA", pki.make_root("Owner Root"))
OTHER_CA = pki.make_ca("Owner CA", pki.make_root("Owner Root"))  # the same name, another key
GOOD = pki.make_registrar(CA).certificate
BAD = pki.make_registrar(CA, name="stolen.example.com").certificate
MINUTE = timedelta(minutes=1)


def check(certificate: x509.Certificate, *lists: bytes, issuer: pki.Entity = CA) -> None:
    check_not_revoked(certificate, issuer.certificate, map(parse_list, lists), at=pki.NOW)


def partial(**changes: Any) -> tuple[x509.ExtensionType, bool]:
    values = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**values | changes), True


def test_who_is_not_on_a_current_list_is_not_revoked() -> None:
    """And who is on it is; other issuers' lists beside it change nothing."""
    revoked = pki.make_crl(CA, BAD)
    foreign = pki.make_crl(pki.make_root("Elsewhere"), GOOD)
    check(GOOD, foreign, revoked)
    with pytest.raises(CertificateRevoked, match=r"stolen\.example\.com"):
        check(BAD, revoked, foreign)


def test_the_list_may_say_where_it_is_from() -> None:
    """An issuing distribution point that takes nothing away is no part of a list."""
    place = [x509.UniformResourceIdentifier(pki.CRL_URL)]
    check(GOOD, pki.make_crl(CA, extra=[partial(full_name=place)]))
    check(GOOD, pki.make_crl(CA, extra=[(x509.CRLNumber(7), False)]))


UNUSABLE = {
    "none": (),
    "of another issuer": (pki.make_crl(pki.make_root("Elsewhere")),),
    "of the same name and another key": (pki.make_crl(OTHER_CA),),
    "signed by another": (pki.make_crl(CA, signed_by=OTHER_CA),),
    "out of date": (pki.make_crl(CA, this_update=pki.BEFORE, next_update=pki.NOW),),
    "of the future": (pki.make_crl(CA, this_update=pki.NOW + 6 * MINUTE),),
    "a weak digest": (pki.make_crl(CA, digest=hashes.SHA224()),),
    "a delta": (pki.make_crl(CA, extra=[(x509.DeltaCRLIndicator(1), True)]),),
    "a delta that is not marked critical": (
        pki.make_crl(CA, extra=[(x509.DeltaCRLIndicator(1), False)]),
    ),
    "indirect": (pki.make_crl(CA, extra=[partial(indirect_crl=True)]),),
    "of CAs only": (pki.make_crl(CA, extra=[partial(only_contains_ca_certs=True)]),),
    "of users only": (pki.make_crl(CA, extra=[partial(only_contains_user_certs=True)]),),
    "of attribute certificates": (
        pki.make_crl(CA, extra=[partial(only_contains_attribute_certs=True)]),
    ),
    "of some reasons": (
        pki.make_crl(
            CA, extra=[partial(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}))]
        ),
    ),
    "with an unknown critical extension": (
        pki.make_crl(
            CA,
            extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)],
        ),
    ),
}


@pytest.mark.parametrize("lists", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_a_list_does_not_cover_it_does_not_clear(lists: tuple[bytes, ...]) -> None:
    """The status is unknown then, and not good; a usable list beside it makes it known."""
    with pytest.raises(RevocationUnknown):
        check(GOOD, *lists)
    check(GOOD, *lists, pki.make_crl(CA))
    check_not_listed(GOOD, CA.certificate, map(parse_list, lists))


def test_a_little_ahead_is_a_clock() -> None:
    """Five minutes, as everywhere."""
    check(GOOD, pki.make_crl(CA, this_update=pki.NOW + 4 * MINUTE))


def test_what_was_revoked_stays_so() -> None:
    """An old list cannot clear, but it can convict, with and without a demand."""
    old = pki.make_crl(CA, BAD, this_update=pki.BEFORE, next_update=pki.NOW)
    fresh = pki.make_crl(CA)
    for lists in ((old,), (old, fresh), (fresh, old)):
        with pytest.raises(CertificateRevoked):
            check(BAD, *lists)
        with pytest.raises(CertificateRevoked):
            check_not_listed(BAD, CA.certificate, map(parse_list, lists))
    forged = pki.make_crl(CA, BAD, signed_by=OTHER_CA)
    check_not_listed(BAD, CA.certificate, [parse_list(forged)])


def test_a_ca_that_may_not_sign_lists_has_none() -> None:
    """KeyUsage without cRLSign."""
    issuer = pki.make_ca(
        "No lists", pki.make_root("Root"), key_usage=pki.key_usage("key_cert_sign")
    )
    certificate = pki.make_registrar(issuer).certificate
    with pytest.raises(RevocationUnknown, match="not signed by"):
        check(certificate, pki.make_crl(issuer), issuer=issuer)


@pytest.mark.parametrize("kind", ["P-384", "Ed25519", "RSA-2048"])
def test_lists_under_other_keys(kind: str) -> None:
    """Whatever the CA's key is."""
    issuer = pki.make_ca("CA", pki.make_root("Root", kind=kind), kind=kind)
    certificate = pki.make_registrar(issuer).certificate
    digest = None if kind == "Ed25519" else hashes.SHA384()
    with pytest.raises(CertificateRevoked):
        check(certificate, pki.make_crl(issuer, certificate, digest=digest), issuer=issuer)


# -- reading


@given(st.binary(max_size=200))
def test_no_octets_break_the_reader(octets: bytes) -> None:
    """A list, or a refusal."""
    with pytest.raises(Malformed):
        parse_list(octets)


def test_a_list_cut_anywhere_is_refused() -> None:
    """At each octet; and one with octets after it, and one that is too long."""
    whole = pki.make_crl(CA, BAD)
    for end in range(len(whole)):
        with pytest.raises(Malformed):
            parse_list(whole[:end])
    with pytest.raises(Malformed):
        parse_list(whole + b"\0")
    with pytest.raises(TooLarge):
        parse_list(bytes(LIST_LIMIT + 1))


def place(*names: x509.GeneralName, **changes: Any) -> x509.DistributionPoint:
    values = {"full_name": list(names), "relative_name": None, "reasons": None, "crl_issuer": None}
    return x509.DistributionPoint(**values | changes)


def test_where_lists_are() -> None:
    """http only, of the issuer itself and for all reasons; the first two."""
    http = x509.UniformResourceIdentifier(pki.CRL_URL)
    points = [
        place(x509.UniformResourceIdentifier("ldap://192.0.2.80/cn=crl"), http),
        place(x509.UniformResourceIdentifier("https://192.0.2.80/a.crl")),
        place(x509.UniformResourceIdentifier("http://a/"), crl_issuer=[x509.DNSName("x")]),
        place(
            x509.UniformResourceIdentifier("http://b/"),
            reasons=frozenset({x509.ReasonFlags.key_compromise}),
        ),
        place(x509.UniformResourceIdentifier("HTTP://c/")),
        place(x509.UniformResourceIdentifier("http://d/")),
    ]
    certificate = pki.make_registrar(CA, extra=[(x509.CRLDistributionPoints(points), False)])
    assert distribution_points(certificate.certificate) == (pki.CRL_URL, "HTTP://c/")
    assert distribution_points(GOOD) == ()


# -- another implementation


LISTS = {
    "good": (pki.make_crl(CA), True),
    "revoked": (pki.make_crl(CA, GOOD), False),
    "old": (pki.make_crl(CA, this_update=pki.BEFORE, next_update=pki.NOT_BEFORE), False),
    "forged": (pki.make_crl(CA, signed_by=OTHER_CA), False),
    "elsewhere": (pki.make_crl(pki.make_root("Elsewhere")), False),
}


@pytest.mark.parametrize(("octets", "good"), LISTS.values(), ids=LISTS.keys())
def test_openssl_judges_alike(tmp_path: Path, octets: bytes, good: bool) -> None:
    """`openssl verify -crl_check` takes what we take."""
    openssl = require_program("openssl", package="openssl")
    revoked = x509.load_der_x509_crl(octets).public_bytes(serialization.Encoding.PEM)
    (tmp_path / "crl.pem").write_bytes(revoked)
    (tmp_path / "ca.pem").write_bytes(CA.certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "leaf.pem").write_bytes(GOOD.public_bytes(serialization.Encoding.PEM))
    told = subprocess.run(
        [
            *(openssl, "verify", "-partial_chain", "-crl_check", "-attime"),
            *(str(int(pki.NOW.timestamp()) + 1), "-CRLfile", tmp_path / "crl.pem"),
            *("-CAfile", tmp_path / "ca.pem", tmp_path / "leaf.pem"),
        ],
        capture_output=True,
        check=False,
    )
    assert (told.returncode == 0) is good, told.stderr
    try:
        check(GOOD, octets)
    except (CertificateRevoked, RevocationUnknown):
        assert not good
    else:
        assert good
