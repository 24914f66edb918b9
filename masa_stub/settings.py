"""The MASA's settings file; conf/masa.toml has every key with its comment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from brski.edge.settings import ExistingFile, Listen, Settings
from brski.voucher.interoperability import Interoperability
from masa_stub.ownership import Unsold
from masa_stub.pin import Pin
from oem_backend.database.engine_settings import EngineSettings
from oem_backend.database.opening import as_place, place_of
from oem_backend.database.port import Place

CustomerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class ListenSettings(Settings):
    """``[listen]``"""

    registrars: Listen = "127.0.0.1:9443"
    connections_per_address: int = Field(default=256, ge=1)
    management: Listen = "127.0.0.1:9444"


class TLSSettings(Settings):
    """``[tls]``: what registrars see."""

    key: ExistingFile
    chain: ExistingFile


class SignerSettings(Settings):
    """``[signer]``: what signs vouchers; without it a key is made that ends with the process.

    ``[nonceless_signer]``: what signs those without a nonce, if not the same.
    """

    key: ExistingFile
    chain: ExistingFile


class PolicySettings(Settings):
    """``[policy]``"""

    pin: Pin = Pin.LOWEST_CA
    pin_nonceless: Pin = Pin.HIGHEST_CA
    unsold: Unsold = Unsold.ANY
    allow_logged: bool = False
    asserting_without_request: bool = False
    refused: tuple[str, ...] = ()


class NoncelessSettings(Settings):
    """``[nonceless]``"""

    life_s: Annotated[int, Field(ge=1, le=400 * 86_400)] = 1200
    no_end: bool = False  # instead of life_s


class AuditLogSettings(Settings):
    """``[audit_log]``"""

    most: Annotated[int, Field(ge=1, le=1000)] = 1000
    only_authenticated: bool = False
    location: bool = False  # 201 and an address instead of the log itself


class RatesSettings(Settings):
    """``[rates]``: of each domain, and of each address; twice, and 200 times, as much at once."""

    requests_per_s: Annotated[float, Field(gt=0, le=100_000)] = 50.0
    refusals_per_s: Annotated[float, Field(gt=0, le=100_000)] = 0.5


class CustomerSettings(Settings):
    """``[[customer]]``: an owner of devices, and how its registrars are known."""

    name: CustomerName
    anchors: ExistingFile | None = None
    crls: tuple[ExistingFile, ...] = ()
    user: Annotated[str, Field(pattern=r"^[^:\x00-\x1f]{1,64}$")] | None = None
    password_file: ExistingFile | None = None

    @model_validator(mode="after")
    def _is_known_by_something(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        if self.anchors is None and self.user is None:
            raise ValueError("known by nothing: anchors, or user and password_file")
        if self.crls and self.anchors is None:
            raise ValueError("crls need anchors")
        return self


class MASASettings(Settings):
    """The whole file."""

    listen: ListenSettings = ListenSettings()
    tls: TLSSettings
    signer: SignerSettings | None = None
    nonceless_signer: SignerSettings | None = None
    database: Path = Path("devices.db")  # the OEM's, which the factory's bundles are loaded into
    engine: EngineSettings | None = None  # instead of database
    log: Path = Path("masa.db")
    policy: PolicySettings = PolicySettings()
    nonceless: NoncelessSettings = NoncelessSettings()
    audit_log: AuditLogSettings = AuditLogSettings()
    rates: RatesSettings = RatesSettings()
    interoperability: Interoperability = Interoperability.STRICT
    customer: tuple[CustomerSettings, ...] = ()

    @model_validator(mode="after")
    def _customers_are_told_apart(self) -> Self:
        for what in ("name", "user"):
            given = [value for each in self.customer if (value := getattr(each, what)) is not None]
            if len(set(given)) != len(given):
                raise ValueError(f"two customers have the same {what}")
        return self

    @property
    def place(self) -> Place:
        """Where the database is; raises SettingsError where the engine is not installed."""
        return as_place(self.database) if self.engine is None else place_of(self.engine)
