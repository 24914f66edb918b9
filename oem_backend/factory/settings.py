"""The part of the OEM's settings file that the factory reads; conf/factory.toml has every key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from brski.edge.settings import ExistingFile, Seconds, Settings

Name = Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,62}[!-~])?$")]  # as in the signed files


class PeerSettings(Settings):
    """``[[factory.vendor]]`` and ``[[factory.assembler]]``: whose signatures are taken."""

    name: Name
    key: ExistingFile  # PEM: PUBLIC KEY, or a certificate around it


class OnDemandSettings(Settings):
    """``[factory.on_demand]``: where demands lie, and what strangers may cost."""

    inbox: Path = Path("inbox")  # existing
    outbox: Path = Path("outbox")  # existing
    poll_s: Seconds = 2.0
    per_day: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    per_device_and_day: Annotated[int, Field(ge=1, le=1000)] = 10


class VaultSettings(Settings):
    """``[factory.vault]``: whether seeds are kept, and under which key."""

    kind: Literal["none", "file", "passphrase", "pkcs11"] = "none"
    folder: Path = Path("vault")
    witness: Path = Path("vault.witness")
    key: Path | None = None  # file: 32 octets, 0600; made by vault init
    passphrase_file: ExistingFile | None = None  # passphrase: 0600; without it a terminal is asked
    module: ExistingFile | None = None  # pkcs11: shared library
    token: str | None = None
    label: str | None = None  # of a secret key
    pin_file: ExistingFile | None = None  # 0600

    @model_validator(mode="after")
    def _what_the_kind_takes(self) -> Self:
        needed, allowed = _VAULT_KEYS[self.kind]
        named = {name for name in _ALL_VAULT_KEYS if getattr(self, name) is not None}
        if not needed <= named <= needed | allowed:
            raise ValueError(
                f"kind {self.kind!r} takes {', '.join(sorted(needed | allowed)) or 'no key'}"
            )
        return self

    @property
    def source(self) -> dict[str, str]:
        """Where a worker gets the key from: names and paths."""
        named = {name: getattr(self, name) for name in _ALL_VAULT_KEYS}
        return {"kind": self.kind} | {n: str(v) for n, v in named.items() if v is not None}


_VAULT_KEYS: Final[dict[str, tuple[set[str], set[str]]]] = {  # needed, and allowed besides
    "none": (set(), set()),
    "file": ({"key"}, set()),
    "passphrase": (set(), {"passphrase_file"}),
    "pkcs11": ({"module", "token", "label", "pin_file"}, set()),
}
_ALL_VAULT_KEYS: Final = ("key", "passphrase_file", "module", "token", "label", "pin_file")


class FactorySettings(Settings):
    """``[factory]``"""

    name: Name  # under which the OEM database knows the bundles' key
    store: Path = Path("store")  # sealed batches and the ledger; made when missing
    recipient_key: ExistingFile  # 0600; opened by workers alone
    recipient_public: ExistingFile
    cms_recipient_key: ExistingFile | None = None  # PEM, 0600; opened by workers alone
    cms_recipient_public: ExistingFile | None = None  # PEM: PUBLIC KEY, or a certificate around it
    intake_key: ExistingFile  # 0600, 32 octets; never leaves the factory
    issuing_key: ExistingFile | None = None  # PEM, 0600; short for a table issuing of kind "file"
    issuing: dict[str, Any] | None = None  # kind, and what its adapter reads (brski.signer)
    issuing_chain: ExistingFile  # issuing CA first, root last
    bundle_key: ExistingFile  # PEM, 0600
    masa_url: str  # what goes into the IDevIDs: host or host:port
    hardware_module_type: str | None = None  # dotted; without it no hardwareModuleName
    workers: int | None = Field(default=None, ge=1, le=256)
    executor: dict[str, Any] | None = None  # of make; kind, and what its adapter reads
    worker_keys: Path | None = None  # folder of the recipient keys on other machines
    keep_batches: bool = True  # also when all of their chips are certified
    vault: VaultSettings = VaultSettings()
    vendor: tuple[PeerSettings, ...] = ()
    assembler: tuple[PeerSettings, ...] = ()
    on_demand: OnDemandSettings | None = None

    @model_validator(mode="after")
    def _one_issuing_key(self) -> Self:
        if (self.issuing_key is None) == (self.issuing is None):
            raise ValueError("either issuing_key or a table issuing")
        return self

    @model_validator(mode="after")
    def _two_tokens(self) -> Self:
        issuing = (self.issuing or {}).get("token")
        if self.vault.token is not None and self.vault.token == issuing:
            raise ValueError("vault: a token of its own, since workers log in to it")
        return self

    @model_validator(mode="after")
    def _vault_on_this_machine(self) -> Self:
        if self.vault.kind != "none" and self.executor is not None:
            raise ValueError("vault: opened by workers of this machine alone, so no executor")
        return self

    @property
    def issuing_table(self) -> dict[str, Any]:
        """The table of the issuing CA's signer, its chain included."""
        table = self.issuing or {"kind": "file", "key": str(self.issuing_key)}
        return {**table, "chain": str(self.issuing_chain)}

    @model_validator(mode="after")
    def _halves_of_a_key(self) -> Self:
        if (self.cms_recipient_key is None) != (self.cms_recipient_public is None):
            raise ValueError("cms_recipient_key and cms_recipient_public go together")
        return self


class FactoryFile(Settings):
    """The whole file, as far as the factory is concerned."""

    factory: FactorySettings
    database: dict[str, Any] | None = None  # of the room that has a network
