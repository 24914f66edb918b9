"""A device whose seed is in a file, and whose software derives the key and holds it."""

from __future__ import annotations

from brski_lab.devices.port import Ended, Joining
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.identity.port import DeviceIdentity
from device_client.keystore.files import FileKeystore
from device_client.keystore.port import Keystore
from device_client.onboard import onboard
from device_client.outcome import World
from device_client.pledge.origin import Origin


class FuseDevice:
    """Implements :class:`brski_lab.devices.port.DeviceKind`."""

    def missing(self) -> str:
        """Nothing."""
        return ""

    def remark(self) -> str:
        """Nothing."""
        return ""

    async def join(self, joining: Joining) -> Ended:
        """See the port."""
        identity = SeedIdentity(load_fuse(joining.fuse))
        return await join_here(joining, identity, FileKeystore(joining.keystore))


async def join_here(joining: Joining, identity: DeviceIdentity, keystore: Keystore) -> Ended:
    """Onboard in this process."""
    outcome = await onboard(
        identity,
        [Origin(host="127.0.0.1", port=joining.stage.registrar_port)],
        keystore,
        rounds=joining.rounds,
        first_delay_s=1.0,
        world=World(observer=joining.observe),
    )
    return Ended(result=outcome.result, reason=outcome.reason, artifacts=outcome.artifacts)
