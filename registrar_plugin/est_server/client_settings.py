"""``[[est.client_ca]]`` and ``[[est.ra]]`` of the registrar's settings, and how they must fit the
profiles.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, product
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from brski.edge.settings import ExistingFile, Settings
from brski.pki.names import SERIAL_NUMBER
from registrar_plugin.enrollment.name_pattern import parse_pattern
from registrar_plugin.est_server.purposes import Purpose, dotted
from registrar_plugin.identity.clients import CERTIFICATE, RA, RA_KINDS, client_key
from registrar_plugin.identity.model import DeviceKey

Name = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?$")]
_NO_LABEL: Final = "(no label)"
_DNS: Final = re.compile(r"[a-z0-9*][a-z0-9*-]*(?:\.[a-z0-9*][a-z0-9*-]*)+\Z")


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("one of them is there twice")
    return values


def _pattern(text: str) -> str:
    parse_pattern(text)
    return text


def _dns_pattern(text: str) -> str:
    parse_pattern(text)
    if text != text.lower() or not _DNS.match(text):
        raise ValueError(f"{text!r} is no DNS name in lower case, with one * in it at most")
    return text


def _ra_client(text: str) -> str:
    kind, colon, name = text.partition(":")
    if kind not in RA_KINDS or not colon or not SERIAL_NUMBER.match(name):
        kinds = " or ".join(repr(f"{kind}:NAME") for kind in RA_KINDS)
        raise ValueError(f"{text!r} names no client: wanted is {kinds}, as the journal has it")
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
"""See :mod:`registrar_plugin.enrollment.name_pattern`."""

DNSPattern = Annotated[str, AfterValidator(_dns_pattern)]
"""The same, of DNS names."""

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
    common_names: tuple[Pattern, ...] = ()
    dns_names: tuple[DNSPattern, ...] = ()

    @model_validator(mode="after")
    def _denied_are_its_own(self) -> ESTClientCASettings:
        _check_own(self.name, self.denied)
        return self

    def usages(self) -> tuple[str, ...]:
        """Dotted."""
        return tuple(map(dotted, self.extended_key_usages))


class ESTRASettings(Settings):
    """``[[est.ra]]``"""

    name: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,14}[a-z0-9])?$")]
    client: Annotated[str, AfterValidator(_ra_client)]
    labels: Labels  # of profiles; empty text: the one without label
    common_names: Annotated[tuple[Pattern, ...], Field(min_length=1)]
    dns_names: tuple[DNSPattern, ...] = ()
    denied: tuple[str, ...] = ()
    foreign_binding: bool = False

    @model_validator(mode="after")
    def _denied_are_its_own(self) -> ESTRASettings:
        _check_own(self.name, self.denied)
        return self

    def client_key(self) -> DeviceKey:
        """What the journal keeps the RA's own certificates by."""
        kind, _, name = self.client.partition(":")
        return client_key(kind, name)


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
    _check_asked(CERTIFICATE, {label for ca in cas for label in ca.labels}, admitted, "client_ca")


def check_ras(
    ras: Sequence[ESTRASettings],
    admitted: Mapping[str, Sequence[str]],
    cmc_ra: Collection[str],
    device_domains: Collection[str],
) -> None:
    """Raise unless registration authorities and profiles fit, and no two RAs share a name.

    Args:
        admitted: the kinds of clients of each profile, by its label.
        cmc_ra: the kinds of clients that some profile gives id-kp-cmcRA.
        device_domains: in which profiles make DNS names of devices.

    Raises:
        ValueError: which does not.
    """
    _check_names([ra.name for ra in ras], "ra")
    _check_names([ra.client for ra in ras], "the clients of ra")
    for ra in ras:
        _check_labels(f"ra {ra.name!r}", ra.labels, RA, admitted)
        if ra.client.partition(":")[0] not in cmc_ra:
            raise ValueError(
                f"ra {ra.name!r}: no profile gives cmcRA to clients of the kind of {ra.client!r}"
            )
        for name in ra.dns_names:
            if name.partition(".")[2] in device_domains:
                raise ValueError(f"ra {ra.name!r}: the DNS names {name} are devices'")
    for one, other in combinations(ras, 2):
        _check_apart(one, other)
    _check_asked(RA, {label for ra in ras for label in ra.labels}, admitted, "ra")


def _check_apart(one: ESTRASettings, other: ESTRASettings) -> None:
    for mine, others in (
        (one.common_names, other.common_names),
        (one.dns_names, other.dns_names),
    ):
        for pair in product(map(parse_pattern, mine), map(parse_pattern, others)):
            if pair[0].may_meet(pair[1]):
                raise ValueError(
                    f"ra {one.name!r} and {other.name!r} could ask for one name: {pair[0]} and "
                    f"{pair[1]}"
                )


def _check_asked(
    kind: str, named: Collection[str], admitted: Mapping[str, Sequence[str]], where: str
) -> None:
    for label, kinds in admitted.items():
        if kind in kinds and label not in named:
            raise ValueError(
                f"profile {label or _NO_LABEL} admits clients of kind {kind!r}, and no {where} "
                "has it among its labels"
            )


def _check_own(name: str, denied: Sequence[str]) -> None:
    for client in denied:
        if not client.startswith(f"{name}:"):
            raise ValueError(
                f"denied: {client!r} is no client of {name!r}: its begin with '{name}:'"
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
