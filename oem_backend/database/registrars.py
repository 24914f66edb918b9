"""Which TLS clients are registrars that may ask (docs/oem-database.md, section 6)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from brski.errors import DomainNotTrusted, NotAuthenticated, PeerError, SettingsError
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import has_extended_key_usage
from brski.pki.keys import spki_sha256
from brski.registry import ID_KP_CLIENT_AUTH, ID_KP_CMC_RA

_REMEMBERED: Final = 1024  # ours: chains; each is kept until one of its certificates ends
_NAME_CHARACTERS: Final = 120
_ANY_USAGE: Final = "2.5.29.37.0"  # RFC 5280 §4.2.1.12

Chain: TypeAlias = tuple[x509.Certificate, ...]


class Usage(StrEnum):
    """What a registrar's certificate must be for."""

    CMC_RA = "cmc-ra"
    CLIENT_AUTH = "client-auth"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrarName:
    """A registrar that may ask, as quota and log know it."""

    subject: str
    certificate_sha256: bytes
    spki_sha256: bytes


class RegistrarGate:
    """Judges TLS clients' chains; each chain once, until one of its certificates ends.

    Args:
        anchors: CAs whose registrars may ask.
        usage: what their certificates must be for.
        clock: aware UTC.
        refused: SHA-256 of registrars' certificates that may not, whoever issued them.

    Raises:
        SettingsError: no anchor, or one with a key that is not accepted.
    """

    def __init__(
        self,
        anchors: Sequence[x509.Certificate],
        *,
        usage: Usage,
        clock: Callable[[], datetime],
        refused: frozenset[bytes] = frozenset(),
    ) -> None:
        try:
            self._anchors = TrustAnchors(anchors)
        except PeerError as err:
            raise SettingsError(f"registrar_anchors: {err.reason}") from err
        self._usage = usage
        self._clock = clock
        self._refused = refused
        self._known: OrderedDict[Chain, tuple[RegistrarName, datetime]] = OrderedDict()

    def admit(self, chain: Chain) -> RegistrarName:
        """Say who is behind a connection whose client has proven the key of ``chain[0]``.

        Args:
            chain: as sent, leaf first; empty when the client sent none.

        Raises:
            NotAuthenticated: it sent none.
            DomainNotTrusted: no path to an anchor, not a registrar's certificate, or shut out.

        RFC 5280 §6.1; RFC 6402 §2.10.
        """
        now = self._clock()
        known = self._known.get(chain)
        if known is not None and now <= known[1]:
            return known[0]
        registrar, ends_at = self._judge(chain, now)
        self._known[chain] = registrar, ends_at
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return registrar

    def _judge(self, chain: Chain, now: datetime) -> tuple[RegistrarName, datetime]:
        if not chain:
            raise NotAuthenticated("the TLS client sent no certificate")
        leaf = chain[0]
        try:
            path = self._anchors.validate(leaf, chain[1:], at=now)
            usable = self._is_usable(leaf)
        except PeerError as err:
            raise DomainNotTrusted(f"TLS client is not trusted: {err.reason}") from err
        if not usable:
            raise DomainNotTrusted(f"TLS client's certificate is not for {self._usage.value}")
        thumbprint = leaf.fingerprint(hashes.SHA256())
        if thumbprint in self._refused:
            raise DomainNotTrusted(f"registrar with certificate {thumbprint.hex()} is shut out")
        registrar = RegistrarName(
            subject=leaf.subject.rfc4514_string()[:_NAME_CHARACTERS],
            certificate_sha256=thumbprint,
            spki_sha256=spki_sha256(leaf),
        )
        return registrar, min(certificate.not_valid_after_utc for certificate in path)

    def _is_usable(self, leaf: x509.Certificate) -> bool:
        if self._usage is Usage.CMC_RA:
            return has_extended_key_usage(leaf, ID_KP_CMC_RA)
        try:
            leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        except x509.ExtensionNotFound:
            return True
        return any(has_extended_key_usage(leaf, oid) for oid in (ID_KP_CLIENT_AUTH, _ANY_USAGE))
