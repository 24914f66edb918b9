"""A certificate that has been granted, and the last look at it before anything is laid out."""

from __future__ import annotations

from dataclasses import dataclass

from brski.errors import WrongOrder
from brski.est.csr import CSR
from registrar_plugin.enrollment.client_names import check_no_device
from registrar_plugin.enrollment.enrollee import AsksForOthers
from registrar_plugin.enrollment.profile import GrantedNames
from registrar_plugin.enrollment.registration import ra_of
from registrar_plugin.identity.clients import RA, client_kind
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.issuances import Issuance


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be certified, for whom and why."""

    device: DeviceKey
    names: GrantedNames
    csr: CSR
    request_digest: bytes  # names the request: who asks with the same one again gets the same
    issuance: Issuance

    def details(self) -> dict[str, str]:
        """What the line of its intent says: which registration authority asked, if one did."""
        asked_by = self.issuance.asked_by
        if asked_by is None:
            return {}
        return {"ra": ra_of(self.device), "ra_certificate_sha256": asked_by.hex()}


def check_order(order: Order, others: AsksForOthers | None) -> None:
    """Raise if *order* has a name that its kind of client never has, whatever was judged before.

    Args:
        others: who knows what may be asked for others; None where nobody may.

    Raises:
        CSRMismatch: a device's name, or one that nobody may ask for.
        NotAuthenticated: the client is denied.
        WrongOrder: it is asked for another, where nobody may.
    """
    kind = client_kind(order.device)
    if kind is None:
        return
    check_no_device(order.names.subject)
    if kind == RA:
        if others is None or order.issuance.asked_by is None:
            raise WrongOrder("nobody may ask for others here", section="RFC 7030 §3.7")
        others.check_granted(order.device, order.names)
