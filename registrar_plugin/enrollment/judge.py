"""May it have this certificate: every gate between a device and its LDevID (RFC 8995 §5.9)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from brski.errors import AuditLogUnacceptable, CSRMismatch, VoucherRejected, WrongOrder
from brski.est.csr import CSR
from brski.est.requirements import P256, P384, CSRRequirements
from brski.pki.names import ldevid_subject
from registrar_plugin.identity.model import DeviceKey

USUAL_REQUIREMENTS: Final = CSRRequirements(keys=(P256, P384))
"""Either curve; the first is announced. No extension is granted on request."""

_ORDER: Final = "RFC 8995 §5.9"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentPolicy:
    """What a certificate request must look like; announced by csrattrs."""

    requirements: CSRRequirements = USUAL_REQUIREMENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the journal says of a device that asks for a certificate."""

    has_voucher: bool
    voucher_status: bool | None
    audit_verdict: bool | None
    audit_reason: str


def check_standing(standing: Standing) -> None:
    """Raise unless the voucher exchange ended well (RFC 8995 §5, §5.8.3: else EST is refused).

    Raises:
        WrongOrder: no voucher yet, or the pledge has not said that it accepts it, or the audit log
            has not been judged.
        VoucherRejected: the pledge said no.
        AuditLogUnacceptable: the log breaks this domain's policy.
    """
    if not standing.has_voucher:
        raise WrongOrder("no voucher has been issued to this device", section=_ORDER)
    if standing.voucher_status is None:
        raise WrongOrder("the device has not accepted its voucher yet", section="RFC 8995 §5.7")
    if not standing.voucher_status:
        raise VoucherRejected("the device rejected its voucher", section="RFC 8995 §5.7")
    if standing.audit_verdict is None:
        raise WrongOrder("the audit log has not been judged", section="RFC 8995 §5.8")
    if not standing.audit_verdict:
        raise AuditLogUnacceptable(standing.audit_reason, section="RFC 8995 §5.8.3")


def check_csr(
    csr: CSR,
    device: DeviceKey,
    policy: EnrollmentPolicy,
    *,
    idevid_spki: bytes,
    channel_binding: str | None,
) -> None:
    """Raise unless *csr*, its proof of possession verified, asks for what *device* is entitled to.

    Args:
        idevid_spki: SubjectPublicKeyInfo of the IDevID, DER; the LDevID key must be another.
        channel_binding: base64 of this connection's binding, as a challengePassword would carry it.

    Raises:
        CSRMismatch: the subject, the key, a requested extension or the binding.
    """
    subject = ldevid_subject(device.serial_number, device.idevid_issuer)
    if csr.subject != subject:
        raise CSRMismatch(
            f"the subject asked for is {csr.subject.rfc4514_string()!r}, "
            f"the device is entitled to {subject.rfc4514_string()!r}",
            section="RFC 7030 §4.2.1",
        )
    if hmac.compare_digest(csr.spki, idevid_spki):
        raise CSRMismatch("the LDevID key must not be the IDevID key", section="RFC 8995 §5.9.2")
    policy.requirements.check(csr)
    _check_binding(csr, channel_binding)


def _check_binding(csr: CSR, channel_binding: str | None) -> None:
    if csr.challenge_password is None:
        return
    if channel_binding is None or not hmac.compare_digest(
        csr.challenge_password.encode(), channel_binding.encode()
    ):
        raise CSRMismatch(
            "challengePassword is not this connection's channel binding", section="RFC 7030 §3.5"
        )
