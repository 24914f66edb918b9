"""Keys that are not in this process, as far as the device can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography import x509

from brski.est.requirements import KeyRequirement
from brski.pki.signer import PublicKey, Signer
from device_client.identity.port import DeviceIdentity
from device_client.keystore.keys import FileKeys


@dataclass
class Elsewhere:
    """A signer that gives out no private key, and remembers what it signed."""

    real: Signer
    signed: list[bytes] = field(default_factory=list)
    before: Callable[[bytes], None] = lambda _: None

    @property
    def public_key(self) -> PublicKey:
        return self.real.public_key

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        return self.real.chain

    def sign(self, data: bytes) -> bytes:
        self.before(data)
        self.signed.append(data)
        return self.real.sign(data)


class IdentityElsewhere:
    """An identity whose key is in another place; all else is *real*'s."""

    def __init__(self, real: DeviceIdentity) -> None:
        self._real = real
        self.key = Elsewhere(real.signer())
        self.serial_number = real.serial_number
        self.idevid_issuer = real.idevid_issuer
        self.carried = real.carried
        self.client_chain = real.client_chain
        self.voucher_anchors = real.voucher_anchors

    def signer(self) -> Elsewhere:
        return self.key


class KeysElsewhere:
    """LDevID keys in another place; a reference is a number in PEM's clothes."""

    def __init__(self) -> None:
        self._files = FileKeys()
        self._held: list[bytes] = []
        self.signers: list[Elsewhere] = []

    def make(self, kind: KeyRequirement) -> bytes:
        self._held.append(self._files.make(kind))
        return f"-----BEGIN KEY ELSEWHERE-----\n{len(self._held) - 1}\n".encode()

    def signer(self, reference: bytes, chain: Sequence[x509.Certificate] = ()) -> Elsewhere:
        held = self._held[int(reference.split()[-1])]
        self.signers.append(Elsewhere(self._files.signer(held, chain)))
        return self.signers[-1]
