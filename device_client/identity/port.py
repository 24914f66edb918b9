"""The port to whatever holds a device's manufacturer identity. The private key is not in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryptography import x509

from brski.pki.signer import Signer
from device_client.keystore.ldevid_keys import LDevIDKeys


class DeviceIdentity(Protocol):
    """A device's IDevID key and what it may say of it."""

    @property
    def serial_number(self) -> str:
        """As the device asserts it."""

    @property
    def idevid_issuer(self) -> bytes | None:
        """20-octet keyIdentifier of the OEM's issuer, when the device knows it."""

    @property
    def carried(self) -> bool:
        """Whether the device holds its IDevID certificate."""

    @property
    def client_chain(self) -> tuple[x509.Certificate, ...]:
        """What it shows in TLS: the IDevID chain, or the one assertion certificate; leaf first."""

    @property
    def voucher_anchors(self) -> tuple[x509.Certificate, ...]:
        """Whom alone it believes vouchers (RFC 8995 §5.6.1)."""

    def signer(self) -> Signer:
        """The IDevID key; its chain is ``client_chain``.

        A :class:`~brski.edge.signers.key.KeySigner` where the key is in this process: OpenSSL then
        speaks TLS with it. Any other signs elsewhere, in another process or a chip, and must be
        P-256 or P-384 to be used in TLS (docs/tls.md). Its ``sign`` may block, and is called in a
        thread.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What an identity's adapter opens: who the device is, and where its LDevID's key will be."""

    identity: DeviceIdentity
    ldevid_keys: LDevIDKeys
