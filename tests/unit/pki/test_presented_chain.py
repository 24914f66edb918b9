"""The chain that a registrar presents: it hangs together, or it is refused."""

from __future__ import annotations

import pytest
from cryptography import x509

from brski.errors import ChainInvalid
from brski.pki import chain
from brski.pki.chain import check_presented_chain
from brski.pki.keys import parse_certificate
from tests.kit import pki
from tests.unit.pki.chain_cases import KINDS


@pytest.mark.requirement("PL-3")
@pytest.mark.parametrize("kind", KINDS)
def test_presented_chain_hangs_together(kind: str) -> None:
    registrar = pki.make_registrar(pki.make_pki("Owner", kind=kind))
    for length in (1, 2, 3):
        check_presented_chain(registrar.chain[:length])


@pytest.mark.requirement("PL-3")
def test_self_signed_registrar_is_a_chain() -> None:
    registrar = pki.make_registrar(None).certificate
    check_presented_chain([registrar])
    check_presented_chain([registrar, registrar])


def _tampered(entity: pki.Entity) -> x509.Certificate:
    """One bit of its notAfter is another."""
    data = bytearray(entity.der)
    data[data.index(b"340101000000Z")] ^= 1
    return parse_certificate(bytes(data))


@pytest.mark.requirement("PL-3")
def test_presented_chain_that_does_not_hang_together_is_refused() -> None:
    owner = pki.make_pki("Owner")
    registrar = pki.make_registrar(owner)
    leaf, sub, root = registrar.chain
    other = pki.make_registrar(pki.make_pki("Owner"))
    tampered = _tampered(registrar)
    forged_root = _tampered(pki.make_root("Owner CA"))
    for presented in (
        [],
        [leaf, root],
        [leaf, sub, leaf],
        [leaf, root, sub],
        [leaf, *other.chain[1:]],
        [tampered, sub, root],
        [forged_root],
        [leaf, *[sub] * 8],
    ):
        with pytest.raises(ChainInvalid):
            check_presented_chain(presented)


def test_presented_chain_with_a_weak_key_is_refused() -> None:
    for kind in ("RSA-1024", "P-521"):
        with pytest.raises(ChainInvalid):
            check_presented_chain([pki.make_registrar(None, kind=kind).certificate])


def test_self_signed_is_by_name_and_by_key() -> None:
    owner = pki.make_pki("Owner")
    assert chain.is_self_signed(owner.root)
    assert not chain.is_self_signed(owner.certificate)
    forged = pki.make_root(owner.root.subject.rfc4514_string()[3:])
    rolled = pki.make_ca("Owner Root CA", forged)
    assert rolled.certificate.subject == rolled.certificate.issuer
    assert not chain.is_self_signed(rolled.certificate)
