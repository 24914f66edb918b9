"""The MASA's settings file; conf/masa.toml has every key with its comment."""

from __future__ import annotations

from pathlib import Path

from brski.edge.settings import ExistingFile, Listen, Settings
from brski.voucher.interoperability import Interoperability
from masa_stub.issue import Pin
from oem_backend.database.engine_settings import EngineSettings
from oem_backend.database.opening import as_place, place_of
from oem_backend.database.port import Place


class ListenSettings(Settings):
    """``[listen]``"""

    registrars: Listen = "127.0.0.1:9443"
    management: Listen = "127.0.0.1:9444"


class TLSSettings(Settings):
    """``[tls]``: what registrars see."""

    key: ExistingFile
    chain: ExistingFile


class SignerSettings(Settings):
    """``[signer]``: what signs vouchers; without it a key is made that ends with the process."""

    key: ExistingFile
    chain: ExistingFile


class PolicySettings(Settings):
    """``[policy]``"""

    pin: Pin = Pin.LOWEST_CA
    allow_logged: bool = False
    refused: tuple[str, ...] = ()


class MASASettings(Settings):
    """The whole file."""

    listen: ListenSettings = ListenSettings()
    tls: TLSSettings
    signer: SignerSettings | None = None
    database: Path = Path("devices.db")  # the OEM's, which the factory's bundles are loaded into
    engine: EngineSettings | None = None  # instead of database
    log: Path = Path("masa.db")
    policy: PolicySettings = PolicySettings()
    interoperability: Interoperability = Interoperability.STRICT

    @property
    def place(self) -> Place:
        """Where the database is; raises SettingsError where the engine is not installed."""
        return as_place(self.database) if self.engine is None else place_of(self.engine)
