"""Whose doing it was: the errors of an onboarding, by fault and by fact.

An error says what is wrong and which rule says so; it knows no HTTP. Each web front has one table
from type to status. A message names the thing and the values that differ; it never holds a seed, a
private key or a whole voucher.
"""

from __future__ import annotations

from typing import ClassVar


class OnboardingError(Exception):
    """What every refusal shares; never raised itself.

    Args:
        reason: one line for the operator, without a final stop.
        section: the rule, such as ``"RFC 8995 §5.6.1"``; empty where no standard speaks.
        hint: what a person at a terminal could try next; empty where nothing helps.
        found, wanted: the two values that differ, as text without secrets; a key or certificate is
            its SHA-256 in hex. Empty where the fault is of another kind.
    """

    alarm: ClassVar[bool] = False  # more than a stray refusal: a person should look

    def __init__(
        self, reason: str, *, section: str = "", hint: str = "", found: str = "", wanted: str = ""
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.section = section
        self.hint = hint
        self.found = found
        self.wanted = wanted

    @property
    def code(self) -> str:
        """The fact in kebab-case, stable for machines: ``nonce-mismatch``."""
        name = type(self).__name__.replace("LDevID", "Ldevid").replace("IDevID", "Idevid")
        name = (
            name.replace("MASA", "Masa")
            .replace("CSR", "Csr")
            .replace("OEM", "Oem")
            .replace("CA", "Ca")
        )
        return "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")

    def __str__(self) -> str:
        return f"{self.reason} ({self.section})" if self.section else self.reason


class PeerError(OnboardingError):
    """The other side broke a rule."""


class Malformed(PeerError):
    """Octets that are not what they must be: DER, JSON, CBOR, base64, a length, a character."""


class UnknownFormat(PeerError):
    """A media type, version or algorithm that this side does not speak."""


class NotAcceptable(PeerError):
    """The Accept header allows nothing that could be answered (RFC 8995 §5.6)."""


class TooLarge(PeerError):
    """More octets, certificates or records than the limit."""


class SignatureInvalid(PeerError):
    """A signature does not verify under the key that it must be made with."""


class ChainInvalid(PeerError):
    """A certificate does not lead to a trust anchor, or is out of its validity."""


class CertificateRevoked(ChainInvalid):
    """A certificate is on its issuer's revocation list (RFC 5280 §6.3)."""


class RevocationUnknown(ChainInvalid):
    """Whether a certificate is revoked must be known, and cannot be (RFC 8366 §5.3)."""


class KeyNotAllowed(PeerError):
    """A key type, size, curve or point form that is not accepted."""


class KeyMismatch(PeerError):
    """The key that was proven is not the key on record."""


class CertificateMismatch(KeyMismatch):
    """A certificate of a trusted manufacturer that is not the one on its record; an alarm."""

    alarm = True


class SerialNumberMismatch(PeerError):
    """Two serial numbers that must be equal differ (RFC 8995 §5.5)."""


class NonceMismatch(PeerError):
    """The nonces differ, or only one side has one (RFC 8995 §5.6.1)."""


class IDevIDIssuerMismatch(PeerError):
    """idevid-issuer is not the one of the device's certificate (RFC 8366 §5.3)."""


class ProximityMismatch(PeerError):
    """proximity-registrar-cert or its assertion is not what this side has seen (RFC 8995 §5.2,
    §5.5.5).
    """


class VoucherExpired(PeerError):
    """``expires-on`` is not after now (RFC 8366 §5.3)."""


class CreatedOnOutOfWindow(PeerError):
    """A created-on or signing time lies further from now than is believable (RFC 8995 §2.6.1)."""


class PinMismatch(PeerError):
    """The registrar's chain does not lead to the pinned domain certificate (RFC 8995 §5.6.2)."""


class CSRMismatch(PeerError):
    """A certificate request asks for what its sender is not entitled to (RFC 7030 §4.2)."""


class NotAuthenticated(PeerError):
    """A client certificate is needed and there is none, or not the one of this onboarding."""


class PasswordNeeded(NotAuthenticated):
    """A user name and password would do, and there is none, or not a good one (RFC 7030 §3.2.3).

    Args:
        realm: what it is asked for; printable ASCII without quotes.
        claimed: the account that was named, if there is one; not for the peer.
    """

    def __init__(self, reason: str, *, realm: str, claimed: str = "", section: str = "") -> None:
        super().__init__(reason, section=section)
        self.realm = realm
        self.claimed = claimed


class WrongOrder(PeerError):
    """A step came before the one that must precede it (RFC 8995 §5)."""


class UnexpectedResponse(PeerError):
    """A status, header or body that the protocol does not foresee."""


class SlowPeer(PeerError):
    """A message did not arrive whole in its time, or its sender left in the middle of it."""


class HandshakeFailed(PeerError):
    """No TLS session came about: the other side broke it off, or speaks no TLS that we do."""


class Refused(OnboardingError):
    """A sound message, and policy says no."""


class AddressNotAllowed(Refused):
    """A host name leads to an address that this side does not connect to."""


class PledgeNotExpected(Refused):
    """This domain does not want this device (RFC 8995 §5.3)."""


class DeviceUnknown(Refused):
    """No manufacturer's record names this serial number."""


class DeviceRevoked(Refused):
    """The manufacturer's record is revoked or flagged."""


class DeviceAmbiguous(Refused):
    """More than one manufacturer has a record that passes; an alarm."""

    alarm = True


class PriorRequestRefused(Refused):
    """The device's own request, enclosed in its registrar's, fails a check or is missing."""


class DomainNotTrusted(Refused):
    """This registrar is not entitled to what it asks (RFC 8995 §5.5.4)."""


class AssertionNotAcceptable(Refused):
    """The voucher's assertion is weaker than policy asks (RFC 8366 §5.3)."""


class AuditLogUnacceptable(Refused):
    """The MASA's audit log breaks the domain's policy (RFC 8995 §5.8.3)."""


class NotOffered(Refused):
    """An operation that this server, or this profile of it, does not do."""


class VoucherRefused(Refused):
    """The MASA, or the registrar, answered the voucher-request with a refusal."""


class NotKnownToMASA(VoucherRefused):
    """The MASA has no such device, or none that was ever ours (RFC 8995 §5.6, §5.8)."""


class NotIssuableByMASA(VoucherRefused):
    """The MASA issues no voucher of the type or algorithm that was asked for (RFC 8995 §5.6)."""


class NotUnderstoodByMASA(VoucherRefused):
    """The MASA does not read requests of this type (RFC 8995 §5.6)."""


class VoucherRejected(Refused):
    """The pledge reported that it does not accept the voucher (RFC 8995 §5.7)."""


class LDevIDRevoked(Refused):
    """A person has revoked the device's certificates; nothing is issued until it onboards anew."""


class NotSignedHere(Refused):
    """Data that a device's key is not for; its signer does not sign it."""


class BatchRefused(Refused):
    """A seed batch or build list is refused whole."""


class BundleRefused(Refused):
    """A bundle of device records is refused whole."""


class ManifestRefused(Refused):
    """A manifest for an owner is refused whole: foreign, stale or past its life."""


class MediumRefused(Refused):
    """A medium that crossed between rooms is not what its list says."""


class TooManyRequests(Refused):
    """A rate budget is used up."""

    def __init__(
        self, reason: str, *, retry_after_s: int, section: str = "", hint: str = ""
    ) -> None:
        super().__init__(reason, section=section, hint=hint)
        self.retry_after_s = retry_after_s


class Unavailable(OnboardingError):
    """A CA, MASA, database or disk is silent; the same request may succeed later."""

    def __init__(
        self, reason: str, *, retry_after_s: int = 10, section: str = "", hint: str = ""
    ) -> None:
        super().__init__(reason, section=section, hint=hint)
        self.retry_after_s = retry_after_s


class LocalError(OnboardingError):
    """Our own setting, file or call is wrong."""


class SettingsError(LocalError):
    """A settings file that cannot be used; the reason lists every fault with its path."""


class KeyUnusable(LocalError):
    """A private key of ours that cannot be read or does not fit its certificate."""


class CredentialsRefused(LocalError):
    """A server wants to know who we are, and what we showed or said does not satisfy it."""

    retry_after_s: ClassVar[int] = 60  # an operator has to act first


class DerivationRefused(LocalError):
    """A TPM that does not derive elliptic-curve keys, so that a seed is no use to it."""


class FileUnusable(LocalError):
    """A file or folder that cannot be read or written: missing, not permitted, of another kind."""


class StateError(LocalError):
    """A file or database of ours is not what this program wrote."""


class CertificateUnsound(LocalError):
    """Our CA was about to sign what breaks RFC 5280, or a journal gave it back like that."""


class WrongContext(LocalError):
    """A request came over a TLS context that is not ours: its client certificate is not known."""
