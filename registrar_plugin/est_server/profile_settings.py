"""``[[est.profile]]`` of the registrar's settings, linted as it is read."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from brski.edge.settings import Settings
from brski.est.csr_attributes import Announcement
from brski.est.requirements import (
    ED25519,
    P256,
    P384,
    CSRRequirements,
    KeyRequirement,
    SubjectRequirement,
)
from brski.registry import (
    CA_CERTS,
    CSR_ATTRS,
    FULL_CMC,
    ID_AT_DN_QUALIFIER,
    ID_AT_SERIAL_NUMBER,
    ID_CE_SUBJECT_ALT_NAME,
    ID_KP_CLIENT_AUTH,
    ID_KP_CMC_RA,
    RSA_ENCRYPTION,
    SERVER_KEY_GEN,
    SIMPLE_ENROLL,
    SIMPLE_REENROLL,
)
from registrar_plugin.ca_backend.crl_settings import CRLSettings
from registrar_plugin.enrollment.profile import PLACE
from registrar_plugin.est_server.purposes import Purpose, dotted
from registrar_plugin.identity.clients import BRSKI, KINDS, NAMED_APART, RA, RA_KINDS

OPERATIONS: Final = frozenset(
    path.lstrip("/")
    for path in (
        CA_CERTS,
        CSR_ATTRS,
        FULL_CMC,
        SERVER_KEY_GEN,
        SIMPLE_ENROLL,
        SIMPLE_REENROLL,
    )
)
KEYS: Final[dict[str, KeyRequirement]] = {
    "P-256": P256,
    "P-384": P384,
    "Ed25519": ED25519,
    **{
        f"RSA-{bits}": KeyRequirement(algorithm=RSA_ENCRYPTION, rsa_bits=bits)
        for bits in (2048, 3072, 4096)
    },
}

_HOST: Final = re.compile(r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+\Z")


def _kind(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"no clients of kind {name!r}; there are {', '.join(KINDS)}")
    return name


def _key(name: str) -> str:
    if name not in KEYS:
        raise ValueError(f"no such key: {name!r}; there are {', '.join(KEYS)}")
    return name


def _label(text: str) -> str:
    if text in OPERATIONS:
        raise ValueError(
            f"a label must not be an operation's name, as {text!r} is (RFC 7030 §3.2.2)"
        )
    return text


def _dns_name(text: str) -> str:
    head, place, tail = text.partition(PLACE)
    if head or not place or not _HOST.match(tail):
        raise ValueError(f"wanted is {PLACE!r} and a domain, such as '{PLACE}.devices.example.com'")
    return text


Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{1,64}$"), AfterValidator(_label)]


class ESTProfileSettings(Settings):
    """``[[est.profile]]``"""

    label: Label | None = None  # none: the profile of the paths without label
    enrollees: tuple[Annotated[str, AfterValidator(_kind)], ...] = Field(
        default=(BRSKI,), min_length=1
    )
    ca: dict[str, Any] | None = None  # as [ca]; none: the one of [ca]
    crl: CRLSettings | None = None  # of that CA
    validity_days: int | None = Field(default=None, ge=1, le=36_500)
    keys: tuple[Annotated[str, AfterValidator(_key)], ...] = Field(
        default=("P-256", "P-384"), min_length=1
    )
    extended_key_usages: tuple[Purpose, ...] = ()
    dns_name: Annotated[str, AfterValidator(_dns_name)] | None = None
    require_dns_name: bool = False
    channel_binding: bool = False
    csrattrs: Announcement = Announcement.LIST
    base64: Literal["auto", "line", "wrap"] = "auto"
    renewable: bool = True
    change_subject_name: bool = False
    server_keys: bool = False

    @model_validator(mode="after")
    def _lint(self) -> ESTProfileSettings:
        if len(set(self.enrollees)) != len(self.enrollees):
            raise ValueError("enrollees has a kind of clients twice")
        purposes = self.purposes()
        if len(set(purposes)) != len(purposes):
            raise ValueError("extended_key_usages has a purpose twice")
        if self.renewable and purposes and ID_KP_CLIENT_AUTH not in purposes:
            raise ValueError(
                "extended_key_usages lacks clientAuth: a certificate that is no TLS client's is "
                "not renewed over itself (RFC 7030 §4.2.2); add it, or set renewable = false"
            )
        misplaced = [kind for kind in self.enrollees if kind not in RA_KINDS]
        if ID_KP_CMC_RA in purposes and misplaced:
            raise ValueError(
                f"cmcRA makes a registrar of each client (RFC 5272 §2): kind {misplaced[0]!r} must "
                f"not be among the enrollees, {' and '.join(RA_KINDS)} may"
            )
        if RA in self.enrollees and self.server_keys:
            raise ValueError(
                "server_keys makes a key for who asks, and a registration authority asks for others"
            )
        apart = [kind for kind in self.enrollees if kind in NAMED_APART]
        if self.dns_name is not None and apart:
            raise ValueError(f"dns_name makes no DNS name of what a client of kind {apart[0]!r} is")
        if self.crl is not None and self.ca is None:
            raise ValueError("crl without a ca: the list of [ca] is the table [crl]")
        if self.require_dns_name and self.dns_name is None:
            raise ValueError("require_dns_name without a dns_name")
        return self

    def purposes(self) -> tuple[str, ...]:
        """extendedKeyUsage, dotted; none where the CA decides."""
        return tuple(map(dotted, self.extended_key_usages))

    def requirements(self) -> CSRRequirements:
        """What csrattrs announces and requests are held to."""
        nameless = self.dns_name is None and self.enrollees == (BRSKI,)
        named: tuple[str, ...] = () if nameless else (ID_CE_SUBJECT_ALT_NAME,)
        with_template = self.csrattrs in (Announcement.TEMPLATE, Announcement.BOTH)
        own_subject = with_template and self.enrollees == (BRSKI,)
        return CSRRequirements(
            keys=tuple(KEYS[name] for name in self.keys),
            subject=_DEVICE_SUBJECT if own_subject else (),
            extension_oids=named if self.require_dns_name else (),
            optional_extensions=frozenset(named),
            challenge_password=self.channel_binding,
        )


_DEVICE_SUBJECT: Final = (
    SubjectRequirement(oid=ID_AT_SERIAL_NUMBER),
    SubjectRequirement(oid=ID_AT_DN_QUALIFIER),
)
