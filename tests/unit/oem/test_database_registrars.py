"""Who may ask the OEM's service, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from brski import registry
from brski.errors import DomainNotTrusted, NotAuthenticated, SettingsError, TooManyRequests
from oem_backend.database.quota import Quota
from oem_backend.database.registrars import RegistrarGate, Usage
from tests.kit import pki

OWNER = pki.make_pki("Example Owner")
REGISTRAR = pki.make_registrar(OWNER)
ANY_USAGE = "2.5.29.37.0"


@dataclass
class Clock:
    now: datetime = pki.NOW

    def __call__(self) -> datetime:
        return self.now


def gate(
    anchors: Sequence[x509.Certificate] = (OWNER.root,),
    *,
    usage: Usage = Usage.CMC_RA,
    clock: Clock | None = None,
    refused: frozenset[bytes] = frozenset(),
) -> RegistrarGate:
    return RegistrarGate(anchors, usage=usage, clock=clock or Clock(), refused=refused)


def sent(entity: pki.Entity) -> tuple[x509.Certificate, ...]:
    return entity.chain[:-1] if entity.issuers else entity.chain


def test_a_registrar_of_a_known_owner_may_ask() -> None:
    named = gate().admit(sent(REGISTRAR))
    assert named.subject == "CN=registrar.example.com"
    assert named.certificate_sha256 == REGISTRAR.certificate.fingerprint(hashes.SHA256())


def test_a_registrar_of_another_ca_may_not() -> None:
    other = pki.make_registrar(pki.make_pki("Example Owner"))  # of the same names
    with pytest.raises(DomainNotTrusted, match="not trusted"):
        gate().admit(sent(other))


def test_nobody_without_a_certificate() -> None:
    with pytest.raises(NotAuthenticated):
        gate().admit(())


def test_a_chain_without_its_middle_leads_nowhere() -> None:
    with pytest.raises(DomainNotTrusted):
        gate().admit((REGISTRAR.certificate,))
    assert gate([OWNER.certificate]).admit((REGISTRAR.certificate,))


@pytest.mark.parametrize(
    ("usage", "ekus", "admitted"),
    [
        (Usage.CMC_RA, (registry.ID_KP_CMC_RA,), True),
        (Usage.CMC_RA, (registry.ID_KP_CLIENT_AUTH,), False),
        (Usage.CMC_RA, (ANY_USAGE,), False),
        (Usage.CMC_RA, (), False),
        (Usage.CLIENT_AUTH, (registry.ID_KP_CLIENT_AUTH,), True),
        (Usage.CLIENT_AUTH, (ANY_USAGE,), True),
        (Usage.CLIENT_AUTH, (), True),
        (Usage.CLIENT_AUTH, (registry.ID_KP_SERVER_AUTH,), False),
        (Usage.CLIENT_AUTH, (registry.ID_KP_CMC_RA,), False),
    ],
)
def test_the_certificate_must_be_for_it(
    usage: Usage, ekus: tuple[str, ...], admitted: bool
) -> None:
    """An owner's CA certifies devices, too: their certificates do not open the directory."""
    chain = sent(pki.make_registrar(OWNER, ekus=ekus))
    if admitted:
        assert gate(usage=usage).admit(chain)
        return
    with pytest.raises(DomainNotTrusted, match="is not for"):
        gate(usage=usage).admit(chain)


def test_an_expired_registrar_may_not() -> None:
    clock = Clock(pki.NOT_AFTER + timedelta(seconds=1))
    with pytest.raises(DomainNotTrusted):
        gate(clock=clock).admit(sent(REGISTRAR))


def test_who_was_let_in_is_judged_again_when_a_certificate_ends() -> None:
    clock = Clock()
    watched = gate(clock=clock)
    assert watched.admit(sent(REGISTRAR))
    clock.now = pki.NOT_AFTER
    assert watched.admit(sent(REGISTRAR))
    clock.now += timedelta(seconds=1)
    with pytest.raises(DomainNotTrusted):
        watched.admit(sent(REGISTRAR))


def test_a_chain_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = gate()
    named = watched.admit(sent(REGISTRAR))
    monkeypatch.setattr(RegistrarGate, "_judge", None)
    assert watched.admit(tuple(sent(REGISTRAR))) is named


def test_the_same_leaf_with_another_chain_is_judged_anew() -> None:
    watched = gate()
    assert watched.admit(sent(REGISTRAR))
    with pytest.raises(DomainNotTrusted):
        watched.admit((REGISTRAR.certificate,))


def test_a_registrar_is_shut_out_by_its_certificate() -> None:
    thumbprint = REGISTRAR.certificate.fingerprint(hashes.SHA256())
    refused = frozenset([thumbprint])
    with pytest.raises(DomainNotTrusted, match="shut out"):
        gate(refused=refused).admit(sent(REGISTRAR))
    assert gate(refused=refused).admit(sent(pki.make_registrar(OWNER)))


def test_only_so_many_chains_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oem_backend.database.registrars._REMEMBERED", 2)
    watched = gate()
    for _ in range(4):
        watched.admit(sent(pki.make_registrar(OWNER)))
    assert len(watched._known) == 2


@pytest.mark.parametrize("kind", ["P-521", "RSA-1024"])
def test_an_anchor_with_a_key_that_is_not_accepted_is_a_fault_of_the_settings(kind: str) -> None:
    with pytest.raises(SettingsError, match="registrar_anchors"):
        gate([pki.make_root(kind=kind).certificate])
    with pytest.raises(SettingsError, match="registrar_anchors"):
        gate([])


# -- quota


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_quota_is_used_up_and_fills_again() -> None:
    clock = Seconds()
    quota = Quota(clock=clock, per_s=2, burst=3)
    for _ in range(3):
        quota.take("one")
    with pytest.raises(TooManyRequests) as caught:
        quota.take("one")
    assert caught.value.retry_after_s == 1
    clock.now += 0.5
    quota.take("one")
    with pytest.raises(TooManyRequests):
        quota.take("one")


def test_one_registrars_greed_costs_no_other() -> None:
    quota = Quota(clock=Seconds(), per_s=1, burst=1)
    quota.take("one")
    with pytest.raises(TooManyRequests):
        quota.take("one")
    quota.take("other")


def test_a_slow_quota_says_how_long_to_wait() -> None:
    quota = Quota(clock=Seconds(), per_s=0.1, burst=1)
    quota.take("one")
    with pytest.raises(TooManyRequests) as caught:
        quota.take("one")
    assert caught.value.retry_after_s == 10


def test_a_clock_that_goes_back_gives_nothing() -> None:
    clock = Seconds()
    quota = Quota(clock=clock, per_s=1, burst=1)
    quota.take("one")
    clock.now -= 100
    with pytest.raises(TooManyRequests):
        quota.take("one")
    clock.now += 0.5
    with pytest.raises(TooManyRequests):
        quota.take("one")


def test_a_burst_is_all_that_gathers() -> None:
    clock = Seconds()
    quota = Quota(clock=clock, per_s=1, burst=2)
    clock.now += 1e6
    quota.take("one")
    quota.take("one")
    with pytest.raises(TooManyRequests):
        quota.take("one")


def test_only_so_many_registrars_are_remembered() -> None:
    quota = Quota(clock=Seconds(), per_s=1, burst=1, remembered=2)
    for name in "abca":  # a was forgotten, and starts anew
        quota.take(name)
    with pytest.raises(TooManyRequests):
        quota.take("c")


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (float("inf"), 1), (1, 0.5)])
def test_a_quota_of_nothing_is_a_fault_of_the_settings(per_s: float, burst: float) -> None:
    with pytest.raises(SettingsError):
        Quota(clock=Seconds(), per_s=per_s, burst=burst)
