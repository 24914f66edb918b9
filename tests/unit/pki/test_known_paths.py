"""A path is judged once, and again when one of its dates, or anything asked, is another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from brski.errors import ChainInvalid
from brski.pki import chain, known_paths
from brski.pki.chain import TrustAnchors
from brski.pki.known_paths import WhileValid
from tests.kit import pki

SECOND = timedelta(seconds=1)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.99"), b"\5\0")


class Counting(TrustAnchors):
    """Tells how many paths were judged."""

    __slots__ = ("judged",)

    def __init__(self, *anchors: x509.Certificate) -> None:
        super().__init__(anchors)
        self.judged = 0

    def _judge(self, *arguments: Any) -> None:
        self.judged += 1
        super()._judge(*arguments)


def _device(**knobs: Any) -> pki.Entity:
    return pki.make_idevid(pki.make_pki(), **knobs)


def test_same_path_is_judged_once() -> None:
    """What verified once verifies always."""
    device = _device()
    anchors = Counting(device.root)
    first = anchors.validate(device.certificate, device.intermediates, at=pki.NOW)
    again = anchors.validate(device.certificate, device.intermediates, at=pki.NOW + SECOND)
    assert (first, anchors.judged) == (again, 1)


@pytest.mark.parametrize("at", [pki.NOT_AFTER + SECOND, pki.NOT_BEFORE - SECOND])
def test_known_path_is_refused_outside_its_dates(at: Any) -> None:
    """A certificate that has ended since then ends the path, however often it was valid."""
    device = _device(not_after=pki.NOT_AFTER)
    anchors = Counting(device.root)
    anchors.validate(device.certificate, device.intermediates, at=pki.NOW)
    with pytest.raises(ChainInvalid):
        anchors.validate(device.certificate, device.intermediates, at=at)
    assert anchors.judged == 2


def test_leaf_whose_end_was_passed_over_counts_where_it_is_not() -> None:
    """The policy is part of what was asked."""
    device = _device(not_after=pki.NOT_AFTER)
    anchors = Counting(device.root)
    at = pki.NOT_AFTER + SECOND
    for _ in range(2):
        anchors.validate(device.certificate, device.intermediates, at=at, ignore_leaf_expiry=True)
    assert anchors.judged == 1
    with pytest.raises(ChainInvalid):
        anchors.validate(device.certificate, device.intermediates, at=at)


def test_refusal_is_not_kept() -> None:
    """What was refused for want of an issuer holds with it, and is refused again without."""
    device = _device()
    anchors = Counting(device.root)
    for intermediates, holds in (((), False), (device.intermediates, True), ((), False)):
        if holds:
            anchors.validate(device.certificate, intermediates, at=pki.NOW)
        else:
            with pytest.raises(ChainInvalid):
                anchors.validate(device.certificate, intermediates, at=pki.NOW)


def test_altered_certificate_is_another() -> None:
    """One octet of a signature changed: judged, and refused, though its neighbour is known."""
    device = _device()
    anchors = Counting(device.root)
    anchors.validate(device.certificate, device.intermediates, at=pki.NOW)
    altered = x509.load_der_x509_certificate(device.der[:-1] + bytes([device.der[-1] ^ 1]))
    with pytest.raises(ChainInvalid):
        anchors.validate(altered, device.intermediates, at=pki.NOW)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many certificates between leaf and trust the library's verifier was given, each time."""
    between: list[int] = []
    verify = chain._verify

    def listening(leaf: Any, certificates: Any, *rest: Any) -> None:
        between.append(len(certificates))
        verify(leaf, certificates, *rest)

    monkeypatch.setattr(chain, "_verify", listening)
    return between


def test_issuer_is_judged_once_for_all_its_devices(asked: list[int]) -> None:
    """What lies above a leaf was judged with the first; the second adds one signature."""
    oem = pki.make_pki()
    anchors = TrustAnchors([oem.root])
    for serial_number in ("SN-1", "SN-2", "SN-3"):
        device = pki.make_idevid(oem, serial_number)
        found = anchors.validate(device.certificate, device.intermediates, at=pki.NOW)
        assert found == device.chain
    assert asked == [1, 0, 0]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"not_after": pki.NOW - SECOND}, id="expired"),
        pytest.param({"not_before": pki.NOW + SECOND}, id="not-yet"),
        pytest.param({"extra": [(UNKNOWN, True)]}, id="unknown-critical-extension"),
    ],
)
def test_odd_device_of_a_known_issuer_is_refused(odd: dict[str, Any]) -> None:
    """A leaf is judged whole, whoever has vouched for its issuer."""
    oem = pki.make_pki()
    anchors = TrustAnchors([oem.root])
    good = pki.make_idevid(oem, "SN-1")
    anchors.validate(good.certificate, good.intermediates, at=pki.NOW)
    bad = pki.make_idevid(oem, "SN-2", **odd)
    with pytest.raises(ChainInvalid):
        anchors.validate(bad.certificate, bad.intermediates, at=pki.NOW)


def test_namesake_of_a_known_issuer_is_not_known(asked: list[int]) -> None:
    """Another key under the same names: its devices lead nowhere."""
    oem, namesake = pki.make_pki(), pki.make_pki()
    anchors = TrustAnchors([oem.root])
    good, forged = pki.make_idevid(oem), pki.make_idevid(namesake)
    anchors.validate(good.certificate, good.intermediates, at=pki.NOW)
    for intermediates in (good.intermediates, forged.intermediates, forged.issuers):
        with pytest.raises(ChainInvalid):
            anchors.validate(forged.certificate, intermediates, at=pki.NOW)


def test_issuer_that_has_ended_is_known_no_more(asked: list[int]) -> None:
    """Its devices end with it."""
    oem = pki.make_pki(not_after=pki.NOT_AFTER)
    anchors = TrustAnchors([oem.root])
    one, two = pki.make_idevid(oem, "SN-1"), pki.make_idevid(oem, "SN-2")
    anchors.validate(one.certificate, one.intermediates, at=pki.NOW)
    with pytest.raises(ChainInvalid):
        anchors.validate(two.certificate, two.intermediates, at=pki.NOT_AFTER + SECOND)
    assert asked == [1, 1]


def test_unused_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded whoever asks."""
    monkeypatch.setattr(known_paths, "_LIMIT", 2)
    kept: WhileValid[str, int] = WhileValid()
    certificate = _device().certificate
    kept.keep("one", 1, [certificate])
    kept.keep("two", 2, [certificate])
    assert kept.get("one", pki.NOW) == 1
    kept.keep("three", 3, [certificate])
    assert kept.get("two", pki.NOW) is None
    assert kept.get("one", pki.NOW) == 1
    assert kept.get("three", pki.NOW) == 3
