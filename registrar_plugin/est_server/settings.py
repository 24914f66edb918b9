"""``[est]`` of the registrar's settings: its profiles, and clients that are no devices."""

from __future__ import annotations

from collections import Counter

from pydantic import Field, model_validator

from brski.edge.settings import ExistingFile, Settings
from brski.registry import ID_KP_CMC_RA
from registrar_plugin.enrollment.profile import PLACE
from registrar_plugin.est_server.client_settings import (
    ESTClientCASettings,
    ESTRASettings,
    check_client_cas,
    check_ras,
)
from registrar_plugin.est_server.profile_settings import ESTProfileSettings
from registrar_plugin.identity.clients import BRSKI, PASSWORD


class ESTSettings(Settings):
    """``[est]``"""

    requests_per_s_and_client: float = Field(default=5, gt=0, le=10_000)
    password_file: ExistingFile | None = None  # accounts (registrar_plugin.accounts), 0600
    profile: tuple[ESTProfileSettings, ...] = ()
    client_ca: tuple[ESTClientCASettings, ...] = ()
    ra: tuple[ESTRASettings, ...] = ()

    @model_validator(mode="after")
    def _passwords_have_a_file(self) -> ESTSettings:
        if self.password_file is None and any(PASSWORD in each.enrollees for each in self.profile):
            raise ValueError("a profile admits clients of kind 'password': set password_file")
        return self

    @model_validator(mode="after")
    def _names_apart(self) -> ESTSettings:
        domains = {
            kind: {each.dns_name for each in self.profile if kind in each.enrollees} - {None}
            for kind in (BRSKI, PASSWORD)
        }
        for shared in domains[BRSKI] & domains[PASSWORD]:
            raise ValueError(
                f"dns_name {shared!r} would be made of serial numbers and of user names alike: "
                "clients of kind 'password' need another domain than devices"
            )
        return self

    @model_validator(mode="after")
    def _each_label_once(self) -> ESTSettings:
        for label, count in Counter(profile.label for profile in self.profile).items():
            if count > 1:
                what = "without a label" if label is None else f"of the label {label!r}"
                raise ValueError(f"{count} profiles {what}")
        return self

    @model_validator(mode="after")
    def _clients_fit(self) -> ESTSettings:
        admitted = {profile.label or "": profile.enrollees for profile in self.profile}
        check_client_cas(self.client_ca, admitted)
        cmc_ra = {
            kind
            for profile in self.profile
            if ID_KP_CMC_RA in profile.purposes()
            for kind in profile.enrollees
        }
        check_ras(self.ra, admitted, cmc_ra, self.device_domains())
        return self

    def device_domains(self) -> frozenset[str]:
        """In which profiles make DNS names of BRSKI devices; lower case."""
        return frozenset(
            profile.dns_name.removeprefix(PLACE).lstrip(".")
            for profile in self.profile
            if profile.dns_name is not None and BRSKI in profile.enrollees
        )
