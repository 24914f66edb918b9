"""The registrar's settings file; conf/registrar.toml has every key with its comment."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, IPvAnyAddress, model_validator

from brski.edge.settings import ExistingFile, Listen, Seconds, Settings
from brski.voucher.interoperability import Interoperability
from registrar_plugin.ca_backend.crl_settings import CRLSettings
from registrar_plugin.est_server.settings import ESTSettings

Hex20 = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Approval = Literal["none", "manual"]


class ListenSettings(Settings):
    """``[listen]``"""

    pledges: Listen = "0.0.0.0:8443"
    management: Listen | None = None
    connections_per_address: int = Field(default=256, ge=1)


class IdentitySettings(Settings):
    """``[registrar]``: the registrar's own key and certificate."""

    key: ExistingFile
    chain: ExistingFile  # end entity first, owner's root last
    certificates_to_masa: int | None = Field(default=None, ge=1)  # of the chain; all when missing


class MASASettings(Settings):
    """``[manufacturer.masa]``"""

    anchors: ExistingFile | None = None  # of its TLS certificate; the system's when missing
    hosts: tuple[str, ...] = ()  # exact host:port that may be at any address
    url: str | None = None  # instead of what the IDevID says
    client_key: ExistingFile | None = None
    client_chain: ExistingFile | None = None
    user: str | None = None
    password_file: ExistingFile | None = None  # one line, 0600
    authentication: Literal["basic", "digest"] = "basic"
    timeout_s: Seconds = 10.0

    @model_validator(mode="after")
    def _password_has_a_place(self) -> MASASettings:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        if self.user is not None and not self.hosts and self.url is None:
            raise ValueError("a password goes to named hosts only: set hosts or url")
        return self


class ManufacturerSettings(Settings):
    """``[[manufacturer]]``"""

    name: str = Field(min_length=1, max_length=64)
    anchors: ExistingFile  # of its IDevIDs
    serial_pattern: str | None = None
    issuers: tuple[Hex20, ...] = ()
    ignore_idevid_expiry: bool = False
    require_record: bool = True
    serial_number_source: Literal["subject", "hardware-module-name"] = "subject"
    serial_number_part: str | None = None
    approval: Approval | None = None  # instead of admission.approval
    source: dict[str, Any] | None = None  # kind = "...", and what that kind of source wants
    masa: MASASettings = MASASettings()


class AdmissionSettings(Settings):
    """``[admission]``"""

    any_device: bool = False
    expected: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    approval: Approval = "none"  # of devices that are neither


class ApprovalSettings(Settings):
    """``[approval]``: devices that wait for a person."""

    waiting: int = Field(default=1000, ge=1)
    wait_s: float = Field(default=345_600, gt=0)  # four days, RFC 8995 §5.6
    retry_after_s: int = Field(default=30, ge=1, le=60)  # RFC 8995 §5.6 caps it at a minute


class AuditLogSettings(Settings):
    """``[audit_log]``"""

    known_domain_ids: tuple[Hex20 | Hex32, ...] = ()
    nonceless_domain_ids: tuple[Hex20 | Hex32, ...] = ()
    require_own_entry: bool = True
    accept_unknown_owners: bool = False
    accept_nonceless: bool = False
    accept_logged: bool = False
    accept_truncation: bool = False
    accept_newer_version: bool = False
    accept_no_log: bool = False
    accept_silence: bool = False
    exempt: tuple[str, ...] = ()
    revoke_on_bad_verdict: bool = False
    wait_s: float = Field(default=60, gt=0, le=86_400)


class StoredVoucherSettings(Settings):
    """``[stored_vouchers]``: vouchers without nonce, fetched before their devices come."""

    use: Literal["never", "masa-silent", "first"] = "never"
    renew_before_s: float = Field(default=604_800, gt=0)
    look_every_s: float = Field(default=3600, ge=60)


class LookUpSettings(Settings):
    """``[look_ups]``: what strangers may cost."""

    requests_per_s: float = Field(default=200, gt=0)
    requests_per_s_and_address: float = Field(default=50, gt=0)
    in_flight: int = Field(default=32, ge=1)
    per_s: float = Field(default=200, gt=0)
    keep_s: float = Field(default=60, ge=0, le=60)
    keep_unknown_s: float = Field(default=10, ge=0, le=10)


class OnDemandSettings(Settings):
    """``[on_demand]``: for manufacturers that certify a device when it was met."""

    wait_s: float = Field(default=0, ge=0, le=345_600)  # 0: nobody is waited for
    retry_after_s: int = Field(default=10, ge=1, le=60)  # RFC 8995 §5.6 caps it at a minute


class DiscoverySettings(Settings):
    """``[discovery]``: how the registrar lets itself be found."""

    mdns: bool = False
    name: str | None = Field(
        default=None, min_length=1, max_length=63
    )  # host and port when missing
    interfaces: tuple[IPvAnyAddress, ...] = ()  # addresses of ours; all when empty


class RegistrarSettings(Settings):
    """The whole file."""

    listen: ListenSettings = ListenSettings()
    registrar: IdentitySettings
    journal: Path = Path("registrar.db")
    interoperability: Interoperability = Interoperability.STRICT
    ca: dict[str, Any]  # kind = "...", and what that kind of CA wants
    est: ESTSettings = ESTSettings()
    manufacturer: tuple[ManufacturerSettings, ...] = Field(min_length=1)
    admission: AdmissionSettings = AdmissionSettings()
    approval: ApprovalSettings = ApprovalSettings()
    audit_log: AuditLogSettings = AuditLogSettings()
    stored_vouchers: StoredVoucherSettings = StoredVoucherSettings()
    look_ups: LookUpSettings = LookUpSettings()
    on_demand: OnDemandSettings = OnDemandSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    crl: CRLSettings | None = None  # none: revocations are known here alone

    def lists(self) -> dict[str | None, CRLSettings]:
        """Where each CA's revocation list is: that of ``[ca]`` under None, those of profiles under
        their labels.
        """
        found: dict[str | None, CRLSettings] = {}
        if self.crl is not None:
            found[None] = self.crl
        return found | {p.label or "": p.crl for p in self.est.profile if p.crl is not None}

    @model_validator(mode="after")
    def _lists_have_places_of_their_own(self) -> RegistrarSettings:
        lists = self.lists().values()
        for what in ("path", "file"):
            places = [getattr(each, what) for each in lists if getattr(each, what) is not None]
            twice = [place for place, count in Counter(places).items() if count > 1]
            if twice:
                raise ValueError(f"two revocation lists have the {what} {str(twice[0])!r}")
        return self

    @model_validator(mode="after")
    def _distribution_points_lead_to_the_right_list(self) -> RegistrarSettings:
        tables = [self.ca, *(p.ca for p in self.est.profile if p.ca is not None)]
        chains: dict[str, object] = {}
        for table in tables:
            url, chain = table.get("crl_url"), table.get("chain")
            if url is not None and chains.setdefault(str(url), chain) != chain:
                raise ValueError(
                    f"crl_url {url!r} stands at two CAs: each has a revocation list of its own"
                )
        return self
