"""``[[est.client_ca]]`` of the registrar's settings, and how it must fit the profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from brski.edge.settings import ExistingFile, Settings
from registrar_plugin.est_server.purposes import Purpose, dotted
from registrar_plugin.identity.clients import CERTIFICATE

Name = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?$")]
_NO_LABEL: Final = "(no label)"


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("one of them is there twice")
    return values


Labels = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_each_once)]


class ESTClientCASettings(Settings):
    """``[[est.client_ca]]``"""

    name: Name
    anchors: ExistingFile
    labels: Labels  # of profiles; empty text: the one without label
    crl: ExistingFile | None = None
    extended_key_usages: tuple[Purpose, ...] = ()
    admit_new: bool = True
    denied: tuple[str, ...] = ()

    def usages(self) -> tuple[str, ...]:
        """Dotted."""
        return tuple(map(dotted, self.extended_key_usages))


def check_client_cas(
    cas: Sequence[ESTClientCASettings], admitted: Mapping[str, Sequence[str]]
) -> None:
    """Raise unless CAs and profiles name each other.

    Args:
        admitted: the kinds of clients of each profile, by its label.

    Raises:
        ValueError: which does not.
    """
    _check_names([ca.name for ca in cas], "client_ca")
    for ca in cas:
        _check_labels(f"client_ca {ca.name!r}", ca.labels, CERTIFICATE, admitted)
    named = {label for ca in cas for label in ca.labels}
    for label, kinds in admitted.items():
        if CERTIFICATE in kinds and label not in named:
            raise ValueError(
                f"profile {label or _NO_LABEL} admits clients of kind {CERTIFICATE!r}, and no "
                "client_ca has it among its labels"
            )


def _check_names(names: Sequence[str], what: str) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"two of {what} have the same name")


def _check_labels(
    who: str, labels: Sequence[str], kind: str, admitted: Mapping[str, Sequence[str]]
) -> None:
    for label in labels:
        if kind not in admitted.get(label, ()):
            raise ValueError(
                f"{who}: no profile {label or _NO_LABEL} with {kind!r} among its enrollees"
            )
