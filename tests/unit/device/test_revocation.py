"""What domain-cert-revocation-checks makes the pledge do: look, not look, or honour what it has."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509

from brski.errors import Malformed
from device_client.pledge.attempt import Onboarding
from device_client.pledge.machine import advance
from device_client.pledge.origin import Origin, parse_list_address
from device_client.pledge.states import (
    Answered,
    Connected,
    Effect,
    FetchLists,
    ListsFetched,
    Phase,
    Send,
    Started,
    State,
)
from tests.kit import pki
from tests.kit.device import World

ROOT_URL, CA_URL = "http://192.0.2.80/root.crl", "http://192.0.2.80/ca.crl"


def make_world(**registrar: Any) -> World:
    """A domain whose certificates say where their issuers' lists are."""
    world = World.make()
    owner = pki.make_ca("Owner CA", world.owner_root, extra=[pki.points_to(ROOT_URL)])
    registrar.setdefault("extra", [pki.points_to(CA_URL)])
    return replace(world, owner=owner, registrar=pki.make_registrar(owner, **registrar))


WORLD = make_world()
ROOT_LIST, CA_LIST = pki.make_crl(WORLD.owner_root), pki.make_crl(WORLD.owner)


def judged(
    checks: bool | None,
    world: World = WORLD,
    *,
    now: datetime | None = pki.NOW,
    chain: tuple[x509.Certificate, ...] = (),
    pin: pki.Entity | None = None,
) -> tuple[Onboarding, tuple[Effect, ...]]:
    """As far as the voucher, with that flag, has been looked at."""
    at = Onboarding(pledge=world.pledge(), origin=Origin("192.0.2.7", 8443))
    at, _ = advance(at, Started(phase=Phase.FACTORY))
    presented = chain or world.presented
    at, _ = advance(at, Connected(registrar_chain=presented, nonce=bytes(16), now=now))
    assert at.request is not None
    answer = world.voucher_answer(
        at.request,
        domain_cert_revocation_checks=checks,
        pinned_domain_cert=(pin or world.owner_root).der,
    )
    return advance(at, Answered(answer=answer, now=now))


def looked_up(
    checks: bool | None, *lists: bytes, now: datetime | None = pki.NOW, **how: Any
) -> Onboarding:
    at, effects = judged(checks, now=now, **how)
    assert at.state is State.CHECKING
    assert isinstance(effects[-1], FetchLists)
    after, _ = advance(at, ListsFetched(lists=lists, now=now))
    return after


def code(onboarding: Onboarding) -> str:
    assert onboarding.state is State.REJECTING
    assert onboarding.verdict is not None
    return onboarding.verdict.code


@pytest.mark.requirement("PL-35")
def test_every_certificate_up_to_the_pin_is_looked_up() -> None:
    """Of the issuers' own places, each once; nothing is said to the registrar before."""
    _, effects = judged(True)
    assert not [effect for effect in effects if isinstance(effect, Send)]
    assert effects[-1] == FetchLists(addresses=(CA_URL, ROOT_URL))
    _, effects = judged(True, pin=WORLD.registrar)
    assert effects[-1] == FetchLists(addresses=(CA_URL,))
    _, effects = judged(True, pin=WORLD.owner, chain=WORLD.registrar.chain)
    assert effects[-1] == FetchLists(addresses=(CA_URL, ROOT_URL))


BAD_REGISTRAR = pki.make_crl(WORLD.owner, WORLD.registrar.certificate)
BAD_CA = pki.make_crl(WORLD.owner_root, WORLD.owner.certificate)
OLD = pki.make_crl(WORLD.owner, this_update=pki.BEFORE, next_update=pki.NOW)
MATRIX: list[tuple[bool | None, tuple[bytes, ...], str]] = [
    (True, (ROOT_LIST, CA_LIST), "accepted"),
    (True, (ROOT_LIST, BAD_REGISTRAR), "certificate-revoked"),
    (True, (BAD_CA, CA_LIST), "certificate-revoked"),
    (True, (), "revocation-unknown"),
    (True, (CA_LIST,), "revocation-unknown"),
    (True, (ROOT_LIST,), "revocation-unknown"),
    (True, (ROOT_LIST, OLD), "revocation-unknown"),
    (True, (ROOT_LIST, b"<html>"), "revocation-unknown"),
    (None, (ROOT_LIST, CA_LIST), "accepted"),
    (None, (ROOT_LIST, BAD_REGISTRAR), "certificate-revoked"),
    (None, (BAD_CA,), "certificate-revoked"),
    (None, (), "accepted"),
    (None, (OLD, b"<html>"), "accepted"),
]


@pytest.mark.requirement("PL-35")
@pytest.mark.parametrize(("checks", "lists", "ends"), MATRIX)
def test_the_flag_and_what_was_found(
    checks: bool | None, lists: tuple[bytes, ...], ends: str
) -> None:
    """True: known to be good, or refused. Absent: refused if known to be bad."""
    after = looked_up(checks, *lists)
    assert ("accepted" if after.state is State.ACCEPTING else code(after)) == ends


@pytest.mark.requirement("PL-35")
def test_false_means_that_nobody_looks() -> None:
    """Though the certificates say where."""
    at, effects = judged(False)
    assert at.state is State.ACCEPTING
    assert not [effect for effect in effects if isinstance(effect, FetchLists)]


@pytest.mark.requirement("PL-35")
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"now": None}, "no clock"),
        ({"world": World.make()}, "does not say where"),
        ({"world": make_world(extra=())}, "does not say where"),
        ({"pin": WORLD.registrar, "chain": WORLD.registrar.chain[:1]}, "issuer of"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused(how: dict[str, Any], says: str) -> None:
    """At once, with the reason for the owner's eyes; without the demand it is no obstacle."""
    at, _ = judged(True, **how)
    assert code(at) == "revocation-unknown"
    assert at.verdict is not None
    assert says in at.verdict.reason
    at, effects = judged(None, **how)
    if at.state is State.CHECKING:
        assert isinstance(effects[-1], FetchLists)
        at, _ = advance(at, ListsFetched(lists=(), now=how.get("now", pki.NOW)))
    assert at.state is State.ACCEPTING


@pytest.mark.requirement("PL-35")
def test_nobody_could_revoke_what_is_self_signed() -> None:
    """A demand to check a pinned registrar that has signed itself cannot be met."""
    alone = pki.make_registrar(None)
    world = replace(WORLD, registrar=alone)
    at, _ = judged(True, world, pin=alone, chain=(alone.certificate,))
    assert code(at) == "revocation-unknown"
    at, _ = judged(None, world, pin=alone, chain=(alone.certificate,))
    assert at.state is State.ACCEPTING


@pytest.mark.requirement("PL-28", "PL-35", "SEC-6")
def test_the_registrar_is_told_no_more_than_of_any_refusal() -> None:
    """Revoked, unknown, or another voucher: the same octets."""
    said = set()
    for at, lists in ((judged(True)[0], (BAD_CA,)), (judged(True)[0], ())):
        _, effects = advance(at, ListsFetched(lists=lists, now=pki.NOW))
        (send,) = [effect for effect in effects if isinstance(effect, Send)]
        said.add(send.request.body)
    _, effects = judged(True, now=None)
    (send,) = [effect for effect in effects if isinstance(effect, Send)]
    assert said == {send.request.body}
    assert b"voucher not accepted" in send.request.body


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("http://192.0.2.80/ca.crl", ("192.0.2.80", 80, "/ca.crl")),
        ("HTTP://CRL.example.com:8080/a/b.crl", ("crl.example.com", 8080, "/a/b.crl")),
        ("http://[2001:db8::1]", ("2001:db8::1", 80, "/")),
    ],
)
def test_addresses_of_lists_are_read(address: str, place: tuple[str, int, str]) -> None:
    assert parse_list_address(address) == place


@pytest.mark.parametrize(
    "address",
    [
        "https://192.0.2.80/ca.crl",
        "ldap://192.0.2.80/ca.crl",
        "http://u:p@192.0.2.80/",
        "http://192.0.2.80/?q",
        "http://192.0.2.80/#f",
        "http://192.0.2.80:0/",
        "http:///ca.crl",
        "http://192.0.2.80/a b",
        "http://192.0.2.80/\r\nHost: x",
        "http://h\u00e4/",
        "http://h/" + "a" * 4096,
        "",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(Malformed):
        parse_list_address(address)
