"""Onboardings that are not read back: durable ones, for a while, never what was overtaken."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store import recent
from registrar_plugin.store.port import Onboarding
from registrar_plugin.store.recent import KEEP_S, RecentOnboardings


class Clock:
    """Monotonic seconds that a test turns."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def onboarding(serial_number: str = "SN-1", request: bytes = b"pvr") -> Onboarding:
    return Onboarding(
        device=DeviceKey(bytes(20), serial_number),
        idevid_spki_sha256=hashlib.sha256(serial_number.encode()).digest(),
        manufacturer="acme",
        masa_url="https://masa.example.com/.well-known/brski",
        presentation="asserted",
        idevid_chain=(),
        pledge_request=request,
        request_digest=hashlib.sha256(request).digest(),
    )


ONE = onboarding()
DIGEST = ONE.request_digest


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> RecentOnboardings:
    return RecentOnboardings(clock)


def test_what_was_begun_and_changed_is_known(known: RecentOnboardings) -> None:
    """By device and by key, with every change since."""
    known.begun(ONE)
    known.changed(ONE.device, DIGEST, voucher=b"voucher", voucher_media_type="a/x")
    expected = replace(ONE, voucher=b"voucher", voucher_media_type="a/x")
    assert known.get(ONE.device) == expected
    assert known.get_by_key(ONE.idevid_spki_sha256) == expected
    assert known.get(onboarding("SN-2").device) is None
    assert known.get_by_key(bytes(32)) is None


def test_nothing_is_known_for_longer_than_a_while(known: RecentOnboardings, clock: Clock) -> None:
    """A change of another process is seen at last."""
    known.begun(ONE)
    clock.now_s += KEEP_S
    assert known.get(ONE.device) == ONE
    clock.now_s += 0.1
    assert known.get(ONE.device) is None
    assert known.get_by_key(ONE.idevid_spki_sha256) is None


def test_change_of_a_replaced_onboarding_does_not_land(known: RecentOnboardings) -> None:
    """What another request began is not known any more; it is read anew."""
    known.begun(ONE)
    known.changed(ONE.device, bytes(32), voucher=b"voucher")
    assert known.get(ONE.device) is None


def test_change_of_what_is_not_kept_is_not_made_up(known: RecentOnboardings) -> None:
    """A part is not the whole."""
    known.changed(ONE.device, DIGEST, voucher=b"voucher")
    assert known.get(ONE.device) is None


def test_what_was_read_is_kept_only_if_nothing_was_changed_since(known: RecentOnboardings) -> None:
    """A commit between reading and keeping would be forgotten otherwise."""
    changes = known.changes
    known.keep(ONE, changes=changes)
    assert known.get(ONE.device) == ONE
    known.changed(ONE.device, DIGEST, voucher=b"voucher")
    known.keep(ONE, changes=changes)
    kept = known.get(ONE.device)
    assert kept is not None
    assert kept.voucher == b"voucher"


def test_new_key_of_a_device_is_found_the_old_one_is_not(known: RecentOnboardings) -> None:
    """One device, one onboarding, one key."""
    known.begun(ONE)
    known.begun(replace(ONE, idevid_spki_sha256=bytes(32)))
    assert known.get_by_key(ONE.idevid_spki_sha256) is None
    assert known.get_by_key(bytes(32)) == replace(ONE, idevid_spki_sha256=bytes(32))


def test_memory_is_bounded(known: RecentOnboardings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one untouched for longest makes room."""
    monkeypatch.setattr(recent, "_LIMIT", 2)
    one, two, three = (onboarding(serial_number) for serial_number in ("A", "B", "C"))
    known.begun(one)
    known.begun(two)
    known.changed(one.device, one.request_digest, voucher_status=True)
    known.begun(three)
    assert known.get(two.device) is None
    assert known.get_by_key(two.idevid_spki_sha256) is None
    assert known.get(one.device) == replace(one, voucher_status=True)
    assert known.get(three.device) == three
