"""A path is judged once, and again when one of its dates, or anything asked, is another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from brski.errors import ChainInvalid
from brski.pki import known_paths
from brski.pki.chain import TrustAnchors
from brski.pki.known_paths import KnownPaths
from tests.kit import pki

SECOND = timedelta(seconds=1)


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


def test_unused_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded whoever asks."""
    monkeypatch.setattr(known_paths, "_LIMIT", 2)
    known = KnownPaths()
    one, two, three = (
        ((device.certificate, device.intermediates, False), device.chain)
        for device in (_device(), _device(), _device())
    )
    known.keep(*one)
    known.keep(*two)
    assert known.get(one[0], pki.NOW) == one[1]
    known.keep(*three)
    assert known.get(two[0], pki.NOW) is None
    assert known.get(one[0], pki.NOW) == one[1]
    assert known.get(three[0], pki.NOW) == three[1]
