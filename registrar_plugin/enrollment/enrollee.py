"""Who asks for a certificate, and what it is entitled to: the port behind every EST operation.

A client proves itself over TLS, or over HTTP inside it; what of that counts, and which name follows
from it, differs by kind of client. An operation knows none of them (docs/est.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cryptography import x509

from brski.est.csr import CSR
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.profile import GrantedNames
from registrar_plugin.identity.model import DeviceKey


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedBy:
    """A registration authority that asks for somebody else (RFC 7030 §3.7)."""

    name: str
    certificate_sha256: bytes  # of its DER: with which it asks
    foreign_binding: bool  # the request may be bound to another connection than the RA's


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollee:
    """A client that has been recognised; being recognised does not entitle to any name but this."""

    kind: str  # the authority's
    device: DeviceKey  # what the journal keeps its certificates by
    subject: x509.Name
    alternative_names: tuple[str, ...] = ()  # DNS, lower case: its own, beside the profile's
    only_todays_names: bool = False  # whether a renewal keeps no name that it has lost since
    foreign_keys: frozenset[bytes] = frozenset()  # SHA-256 of SPKIs that its LDevID must not have
    asked_by: AskedBy | None = None  # None: it asks for itself

    @property
    def ra_certificate(self) -> bytes | None:
        """SHA-256 of the certificate of the registration authority that asks for it."""
        return None if self.asked_by is None else self.asked_by.certificate_sha256


class EnrolleeAuthority(Protocol):
    """Answers for one kind of client.

    ``recognise`` comes first and costs little; the two others run while the device's lock is held.
    Each of them raises :class:`~brski.errors.OnboardingError` for a client that is refused.
    """

    kind: str  # as a profile's settings name it
    realm: str | None  # which HTTP authentication would do instead (401); None: none would

    async def recognise(self, connection: PledgeConnection) -> Enrollee | None:
        """Say whom *connection* shows, or None if it is no client of this kind.

        It is asked twice for one request: before the client's lock is held, and while it is.

        Raises:
            NotAuthenticated: one of this kind, whose credentials are wrong.
        """

    async def check(self, enrollee: Enrollee, connection: PledgeConnection) -> None:
        """Raise unless *enrollee* may have a certificate at this point of its life."""

    async def confirm(self, enrollee: Enrollee, connection: PledgeConnection) -> None:
        """Look at it once more, past every cache, right before something is signed."""

    async def renewing(self, device: DeviceKey) -> Enrollee:
        """Say what the holder of a current LDevID of *device* is entitled to now.

        For a renewal, whose connection shows the LDevID and nothing else: flags and lists are
        looked at anew, past every cache.

        RFC 7030 §4.2.2.
        """


@runtime_checkable
class ByLabel(Protocol):
    """What an authority can do whose clients are not the same under each label."""

    def under(self, label: str) -> EnrolleeAuthority:
        """The authority for the profile *label*, empty for the default one: it recognises, and
        lets renew, those alone who are admitted there.
        """


@runtime_checkable
class AsksForOthers(Protocol):
    """What an authority can do whose clients ask for certificates of others."""

    async def recognise(self, connection: PledgeConnection) -> Enrollee | None:
        """See :meth:`EnrolleeAuthority.recognise`: whoever asks, not whom it asks for."""

    def on_behalf(self, asking: Enrollee, csr: CSR, connection: PledgeConnection) -> Enrollee:
        """Whom *asking*, as it was recognised, asks for with *csr*.

        Raises:
            CSRMismatch: a name that is not its to ask for.
            NotAuthenticated: the client is denied.

        RFC 7030 §3.7.
        """

    def check_granted(self, device: DeviceKey, names: GrantedNames) -> None:
        """Raise unless these names may be signed for a client that others ask for.

        Raises:
            CSRMismatch: nobody who may ask today may ask for them.
            NotAuthenticated: the client is denied.
        """
