"""Whether a CA could issue now, and for how long: its certificates' time, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from brski.errors import KeyUnusable
from registrar_plugin.ca_backend.port import CABackend
from registrar_plugin.health.port import Checkable

WARNED: Final = timedelta(days=30)  # ours: before a certificate ends


class CAHealth:
    """Of one CA, whatever its kind; a :class:`~registrar_plugin.health.port.Checkable`.

    Args:
        clock: aware UTC.
    """

    def __init__(self, ca: CABackend, clock: Callable[[], datetime]) -> None:
        self._ca = ca
        self._clock = clock

    async def check(self) -> str | None:
        """See :meth:`registrar_plugin.health.port.Checkable.check`.

        Raises:
            KeyUnusable: a certificate from the issuing one up to its root is out of its time.
            OnboardingError: what the CA itself says.
        """
        path = issuing_path(self._ca.ca_certificates())
        told = [judge_time(path, now=self._clock())]
        if isinstance(self._ca, Checkable):
            told.append(await self._ca.check())
        return "; ".join(line for line in told if line) or None


def issuing_path(shown: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Of what cacerts shows the certificates from the issuing CA's to its root's; those that only
    lead to another root (docs/ca.md) are left out.
    """
    path = list(shown[:1])
    while path and path[-1].subject != path[-1].issuer:
        above = next((each for each in shown if each.subject == path[-1].issuer), None)
        if above is None or above in path:
            break
        path.append(above)
    return tuple(path)


def judge_time(path: Sequence[x509.Certificate], *, now: datetime) -> str | None:
    """Raise if a certificate has ended or not begun; say which ends soon.

    Args:
        path: from the issuing certificate up.
        now: aware.

    Raises:
        KeyUnusable: what these certificates certify is good for nobody now.

    RFC 5280 §6.1.3 (a) (2).
    """
    for each in path:
        name = each.subject.rfc4514_string()
        begins, ends = each.not_valid_before_utc, each.not_valid_after_utc
        if now > ends:
            raise KeyUnusable(f"the certificate of {name} has ended at {ends:%FT%TZ}")
        if now < begins:
            raise KeyUnusable(f"the certificate of {name} begins at {begins:%FT%TZ} only")
    first = min(path, key=lambda each: each.not_valid_after_utc, default=None)
    if first is None or now + WARNED < first.not_valid_after_utc:
        return None
    ends = first.not_valid_after_utc
    return f"the certificate of {first.subject.rfc4514_string()} ends at {ends:%FT%TZ}"
