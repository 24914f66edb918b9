"""Path building costs little, whatever is presented."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509

from brski.errors import ChainInvalid
from brski.pki import walk
from tests.kit import pki
from tests.unit.pki.chain_cases import Case, idevid, spare


def test_more_certificates_than_a_path_is_made_from_are_refused() -> None:
    case = idevid("P-256")
    others = [pki.make_root(f"CA {i}", key=spare(i)).certificate for i in range(16)]
    many = Case(case.leaf, (*case.intermediates, *others[:15]), case.anchors)
    assert many.validate()
    with pytest.raises(ChainInvalid, match="17 certificates"):
        Case(case.leaf, (*case.intermediates, *others), case.anchors).validate()


def _one_name_one_key(kind: str) -> Case:
    """Certificates of one CA that could each have issued each other."""
    key = pki.make_key(kind)
    itself = pki.make_ca("Storm", None, key=key)
    storm = [
        pki.make_ca("Storm", itself, key=key, not_before=pki.NOT_BEFORE - timedelta(days=i))
        for i in range(15)
    ]
    leaf = pki.make_idevid(itself)
    return Case(leaf, tuple(s.certificate for s in storm), idevid(kind).anchors)


def _one_name_many_keys(kind: str) -> Case:
    """No key identifier tells which one has issued which, and the anchor bears the name too."""
    entities = [pki.make_ca("Storm", None, ski=False, aki=False, key=spare(i)) for i in range(15)]
    anchor = pki.make_ca("Storm", None, kind=kind, ski=False, aki=False)
    leaf = pki.make_idevid(entities[-1], aki=False)
    return Case(leaf, tuple(e.certificate for e in entities), (anchor.certificate,))


def _one_name_many_keys_and_no_anchor(kind: str) -> Case:
    """As many paths as there are orders of fifteen certificates, and none ends."""
    case = _one_name_many_keys(kind)
    return Case(case.leaf, case.intermediates, (pki.make_root("Other", kind=kind).certificate,))


def _many_roots_without_identifiers(kind: str) -> Case:
    roots = [pki.make_root("Root", ski=False, aki=False, key=spare(i)) for i in range(49)]
    forger = pki.make_root("Root", kind=kind, ski=False, aki=False)
    leaf = pki.make_idevid(forger, aki=False)
    return Case(leaf, (), tuple(r.certificate for r in roots))


HOSTILE = (
    _one_name_one_key,
    _one_name_many_keys,
    _one_name_many_keys_and_no_anchor,
    _many_roots_without_identifiers,
)


@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_chains_cost_little(make: Callable[[str], Case], kind: str) -> None:
    """Abuse cases 7 and 18: under 50 ms; ten times that fails here, whatever else is running."""
    case = make(kind)
    for validate in (case.validate, case.validate_without_clock):
        started = time.process_time()
        with pytest.raises(ChainInvalid):
            validate()
        assert time.process_time() - started < 0.5


def test_signature_verifications_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is presented, the own walk verifies at most paths x certificates signatures."""
    calls: list[object] = []
    real = walk.check_issued

    def counted(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        calls.append(certificate)
        real(certificate, issuer)

    monkeypatch.setattr(walk, "check_issued", counted)
    for make in HOSTILE:
        calls.clear()
        with pytest.raises(ChainInvalid):
            make("Ed25519").validate()
        assert len(calls) <= 28
