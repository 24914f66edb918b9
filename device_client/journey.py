"""What all attempts of one journey share: who the device is, where it keeps things, its habits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from brski.errors import StateError
from brski.pki.keys import encode_spki
from brski.pki.signer import Signer
from brski.voucher.serialization import VoucherSerialization
from device_client.identity.port import DeviceIdentity
from device_client.keystore.port import Keystore, RenewableKeystore, Stored
from device_client.outcome import World
from device_client.pledge.policy import Pledge, Policy
from device_client.pledge.states import Credential, Phase
from device_client.transport.http import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """What all attempts of one onboarding share."""

    identity: DeviceIdentity
    keystore: Keystore
    renewable: RenewableKeystore | None = None  # the same, where an LDevID is to be renewed
    pledge: Pledge
    limits: Limits
    outside: World
    device: bytes  # SHA-256 of the IDevID's SubjectPublicKeyInfo

    def shown(self, credential: Credential) -> Signer:
        """What this device shows in TLS, and the key that proves it."""
        if credential is Credential.LDEVID:
            return self.keystore.ldevid()
        return self.identity.signer()


def journey_of(
    identity: DeviceIdentity,
    keystore: Keystore,
    *,
    policy: Policy | None,
    limits: Limits | None,
    serialization: VoucherSerialization,
    world: World,
    renewable: RenewableKeystore | None = None,
) -> Journey:
    """Put it together; what is None is as usual.

    Raises:
        LocalError: the device's own key fails.
    """
    return Journey(
        identity=identity,
        keystore=keystore,
        renewable=renewable,
        pledge=_pledge_of(identity, policy or Policy(), serialization),
        limits=limits or Limits(),
        outside=world,
        device=hashlib.sha256(encode_spki(identity.signer().public_key)).digest(),
    )


def check_owner(stored: Stored, journey: Journey) -> None:
    """Raise unless *stored* is nobody's, or this device's.

    Raises:
        StateError: it is another device's.
    """
    if stored.phase is not Phase.FACTORY and stored.device != journey.device:
        raise StateError(
            "the keystore holds the LDevID of another device",
            hint="each device needs a keystore of its own; brski-pledge reset empties this one",
        )


def _pledge_of(
    identity: DeviceIdentity, policy: Policy, serialization: VoucherSerialization
) -> Pledge:
    return Pledge(
        serial_number=identity.serial_number,
        idevid_issuer=identity.idevid_issuer,
        signer=identity.signer(),
        idevid_chain=identity.client_chain if identity.carried else (),
        voucher_anchors=identity.voucher_anchors,
        serialization=serialization,
        policy=policy,
    )
