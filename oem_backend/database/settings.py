"""The OEM database's settings file; conf/oem.toml has every key with its comment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from brski.edge.settings import ExistingFile, Listen, Seconds, Settings
from oem_backend.database.engine_settings import EngineSettings
from oem_backend.database.opening import as_place, place_of
from oem_backend.database.port import Place
from oem_backend.database.registrars import Usage


class FactorySettings(Settings):
    """``[[database.factory]]``: whose bundles are taken."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    key: ExistingFile  # PEM: PUBLIC KEY, or a certificate around it


class OnDemandSettings(Settings):
    """``[database.on_demand]``: devices that the factory certifies when somebody has met them."""

    spool: Path = Path("demands")  # made when missing; the factory's inbox
    answers: Path = Path("answers")  # existing; the factory's outbox
    poll_s: Seconds = 2.0
    again_s: Annotated[int, Field(ge=1, le=30 * 86_400)] = 3600
    per_registrar_and_day: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    per_day: Annotated[int, Field(ge=1, le=10_000_000)] = 1000


class ServiceSettings(Settings):
    """``[database.service]``: what ``serve`` needs."""

    listen: Listen = "127.0.0.1:9445"
    connections_per_address: Annotated[int, Field(ge=1)] = 256
    key: ExistingFile
    chain: ExistingFile
    registrar_anchors: ExistingFile
    usage: Usage = Usage.CMC_RA
    refused: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    require_spki: bool = False
    queries_per_s: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 200
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 400


class ManifestSettings(Settings):
    """``[database.manifest]``: what ``brski-oem manifest`` signs with."""

    name: Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,62}[!-~])?$")]
    key: ExistingFile  # PEM, 0600


class DatabaseSettings(Settings):
    """``[database]``"""

    path: Path = Path("devices.db")
    engine: EngineSettings | None = None  # instead of path
    factory: tuple[FactorySettings, ...] = ()
    manifest: ManifestSettings | None = None
    on_demand: OnDemandSettings | None = None
    service: ServiceSettings | None = None

    @property
    def place(self) -> Place:
        """Where the directory is; raises SettingsError where the engine is not installed."""
        return as_place(self.path) if self.engine is None else place_of(self.engine)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [factory.name for factory in self.factory]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"factory {twice[0]!r} is there twice")
        return self


class OEMSettings(Settings):
    """The whole file."""

    database: DatabaseSettings
