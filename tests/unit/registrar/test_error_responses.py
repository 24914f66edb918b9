"""The two tables from error to status, held against RFC 8995 §5.3, §5.6 and RFC 7030 §4.2.3."""

from __future__ import annotations

import inspect

import pytest

from brski import errors
from brski.edge.web_errors import status_of
from brski.errors import OnboardingError
from registrar_plugin.pledge_facing.error_responses import BRSKI_STATUS, EST_STATUS, UNTOLD


@pytest.mark.requirement("REG-6", "REG-16", "REG-19")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.DeviceUnknown, 404),
        (errors.DeviceRevoked, 404),
        (errors.PledgeNotExpected, 404),
        (errors.ProximityMismatch, 401),
        (errors.SignatureInvalid, 403),
        (errors.VoucherRefused, 403),
        (errors.NotKnownToMASA, 404),
        (errors.NotIssuableByMASA, 406),
        (errors.NotAcceptable, 406),
        (errors.NotUnderstoodByMASA, 415),
        (errors.UnknownFormat, 415),
        (errors.UnexpectedResponse, 503),
        (errors.CredentialsRefused, 503),
        (errors.Unavailable, 503),
        (errors.TooManyRequests, 503),
    ],
)
def test_the_voucher_exchange_answers_as_the_rfc_has_it(
    kind: type[OnboardingError], expected: int
) -> None:
    """The MASA's own word is passed on; what a stranger could learn from has one answer."""
    assert status_of(BRSKI_STATUS, kind.__new__(kind)) == expected


@pytest.mark.requirement("REG-22")
@pytest.mark.parametrize(
    "kind", [errors.AuditLogUnacceptable, errors.VoucherRejected, errors.WrongOrder, *UNTOLD]
)
def test_est_refuses_with_403(kind: type[OnboardingError]) -> None:
    """RFC 8995 §5.8.3; RFC 7030 §4.2.3."""
    assert status_of(EST_STATUS, kind.__new__(kind)) == 403


@pytest.mark.parametrize("table", [BRSKI_STATUS, EST_STATUS])
def test_every_fault_of_a_peer_and_every_refusal_has_a_status(
    table: dict[type[OnboardingError], int],
) -> None:
    """And what is ours to mend, 503: no request is at fault."""
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if kind is errors.OnboardingError or not issubclass(kind, errors.OnboardingError):
            continue
        found = status_of(table, kind.__new__(kind))
        assert found is not None
        assert 400 <= found <= 503
        assert found == 503 or not issubclass(kind, errors.LocalError)
