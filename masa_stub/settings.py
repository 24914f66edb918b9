"""The MASA's settings file; conf/masa.toml has every key with its comment."""

from __future__ import annotations

from pathlib import Path

from brski.edge.settings import ExistingFile, Listen, Settings
from masa_stub.issue import Pin


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
    database: ExistingFile  # the OEM database that the factory's bundles are loaded into
    log: Path = Path("masa.db")
    policy: PolicySettings = PolicySettings()
