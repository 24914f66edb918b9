"""The only tables from an error to an HTTP status: RFC 8995 §5.3 and §5.6, RFC 7030 §4.2.3.

The nearest class in an error's ancestry counts. What is in no table answers 500 with an empty body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from brski import errors
from registrar_plugin.identity.verify import IDENTITY_REFUSALS

UNTOLD: Final[tuple[type[errors.OnboardingError], ...]] = (
    *IDENTITY_REFUSALS,
    errors.PledgeNotExpected,
)
"""One answer for all that a stranger could learn from: only the journal tells which it was."""

BRSKI_STATUS: Final[Mapping[type[errors.OnboardingError], int]] = {
    **dict.fromkeys(UNTOLD, 404),
    errors.ProximityMismatch: 401,  # RFC 8995 §5.2; the connection is closed too
    errors.NotAuthenticated: 401,
    errors.UnknownFormat: 415,  # §5.6: request type not understood
    errors.NotAcceptable: 406,  # §5.6: nothing that the Accept header allows
    errors.Malformed: 400,
    errors.KeyNotAllowed: 403,
    errors.SignatureInvalid: 403,  # §5.6: bad signature
    errors.ChainInvalid: 403,
    errors.CreatedOnOutOfWindow: 403,  # §5.6: stale
    errors.SerialNumberMismatch: 403,
    errors.TooLarge: 413,
    errors.SlowPeer: 408,
    errors.WrongOrder: 403,
    errors.VoucherRefused: 403,
    errors.NotKnownToMASA: 404,  # §5.6: and the same three as the MASA said it
    errors.NotIssuableByMASA: 406,
    errors.NotUnderstoodByMASA: 415,
    errors.AddressNotAllowed: 403,
    errors.UnexpectedResponse: 503,  # the MASA's fault: like silence, it may pass
    errors.TooManyRequests: 503,
    errors.Unavailable: 503,
    errors.CredentialsRefused: 503,  # the MASA's 401 is no word on the pledge
    errors.LocalError: 503,  # a key or file of ours, a TLS context that is not: no request's fault
    errors.PeerError: 400,
    errors.Refused: 403,
}

EST_STATUS: Final[Mapping[type[errors.OnboardingError], int]] = {
    **dict.fromkeys(UNTOLD, 403),
    errors.NotAuthenticated: 403,  # RFC 7030 §3.3.2; 401 would ask for HTTP authentication
    errors.PasswordNeeded: 401,  # RFC 7030 §3.2.3, and does
    errors.WrongOrder: 403,
    errors.VoucherRejected: 403,
    errors.AuditLogUnacceptable: 403,  # RFC 8995 §5.8.3
    errors.NotOffered: 501,  # RFC 7030 §3.2.2: operations are optional
    errors.UnknownFormat: 415,
    errors.TooLarge: 413,
    errors.SlowPeer: 408,
    errors.UnexpectedResponse: 503,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
    errors.CredentialsRefused: 503,
    errors.LocalError: 503,  # a key or file of ours, a TLS context that is not: no request's fault
    errors.PeerError: 400,
    errors.Refused: 403,
}
