"""Paths of the shape of IDevIDs, which limbo's own suite does not have: what is right, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from brski.pki import extensions
from tests.kit import pki
from tests.limbo import surgery
from tests.limbo.schema import LimboCase

CLIENT_AUTH: Final = ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string
SERVER_AUTH: Final = ExtendedKeyUsageOID.SERVER_AUTH.dotted_string
_HARDWARE: Final = extensions.hardware_module_name("1.3.6.1.4.1.32473.7", b"SN-0001")
UNKNOWN: Final = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.99"), b"\5\0")
_CONSTRAINTS: Final = x509.NameConstraints([x509.DNSName("example.com")], None)
_EXPLICIT_POLICY: Final = x509.PolicyConstraints(
    require_explicit_policy=0, inhibit_policy_mapping=None
)
_ISSUER_AT: Final = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS,
            x509.UniformResourceIdentifier("http://ca.example.com/"),
        )
    ]
)
_ROOTS: Final = 24  # of one name
_NO_CA: Final = x509.BasicConstraints(ca=False, path_length=None)


def root(name: str = "OEM Root CA", label: str = "root", **knobs: Any) -> pki.Entity:
    """A root with a fixed key, which does not end."""
    made: dict[str, Any] = {"not_after": pki.NEVER, "key": surgery.fixed_key(label)}
    return pki.make_root(name, **made | knobs)


def issuing(above: pki.Entity, label: str = "issuing", **knobs: Any) -> pki.Entity:
    """The CA between."""
    made: dict[str, Any] = {"not_after": pki.NEVER, "key": surgery.fixed_key(label)}
    return pki.make_ca("OEM Issuing CA", above, **made | {"path_length": 0} | knobs)


def idevid(issuer: pki.Entity, **knobs: Any) -> pki.Entity:
    """A device under *issuer*."""
    return pki.make_idevid(issuer, **{"key": surgery.fixed_key("device")} | knobs)


def _pem(certificate: x509.Certificate | bytes) -> str:
    if isinstance(certificate, bytes):
        return surgery.pem(certificate)
    return surgery.pem(certificate.public_bytes(surgery.DER))


def _case(
    name: str,
    description: str,
    leaf: pki.Entity,
    *,
    succeeds: bool,
    der: bytes = b"",
    between: Sequence[x509.Certificate] | None = None,
    trusted: Sequence[x509.Certificate] | None = None,
    at: datetime = pki.NOW,
    usages: tuple[str, ...] = (),
) -> LimboCase:
    """*leaf* with what is above it, unless something else is said."""
    return LimboCase(
        id=f"brski::idevid::{name}",
        description=description,
        peer=_pem(der or leaf.certificate),
        intermediates=tuple(_pem(c) for c in (leaf.intermediates if between is None else between)),
        trusted=tuple(_pem(c) for c in ((leaf.root,) if trusted is None else trusted)),
        at=at,
        succeeds=succeeds,
        usages=usages,
    )


def _shapes() -> list[LimboCase]:
    ca = issuing(root())
    named = idevid(ca, extra=[(x509.SubjectAlternativeName([_HARDWARE]), False)])
    critical = idevid(ca, extra=[(x509.SubjectAlternativeName([_HARDWARE]), True)])
    late = pki.NEVER - timedelta(days=1)
    short = idevid(ca, not_after=pki.NOT_AFTER)
    return [
        _case("no-san", "A device has a serial number and no SAN.", idevid(ca), succeeds=True),
        _case("hardware-module-name", "SAN of one hardwareModuleName.", named, succeeds=True),
        _case("hardware-module-name-critical", "The same, critical.", critical, succeeds=True),
        _case("never-expires", "99991231235959Z, a day before.", named, succeeds=True, at=late),
        _case("expired", "This one has an end.", short, succeeds=False, at=pki.AFTER),
        _case("not-yet-valid", "Before notBefore.", named, succeeds=False, at=pki.BEFORE),
    ]


def _usages() -> list[LimboCase]:
    ca = issuing(root())
    client, server = idevid(ca, ekus=[CLIENT_AUTH]), idevid(ca, ekus=[SERVER_AUTH])
    wanted = ("clientAuth",)
    return [
        _case("eku-absent", "Good for any use.", idevid(ca), succeeds=True, usages=wanted),
        _case("eku-client", "Only clientAuth.", client, succeeds=True, usages=wanted),
        _case("eku-server", "Only serverAuth.", server, succeeds=False, usages=wanted),
    ]


def _extensions() -> list[LimboCase]:
    ca = issuing(root())
    constrained = issuing(root(), extra=[(_CONSTRAINTS, True)])
    strange = issuing(root(), extra=[(UNKNOWN, True)])
    policed = issuing(root(), extra=[(_EXPLICIT_POLICY, False)])
    wrong = x509.AuthorityKeyIdentifier(bytes(20), None, None)
    cases = [
        ("unknown-critical", "Nobody knows it.", idevid(ca, extra=[(UNKNOWN, True)]), False),
        ("unknown", "Not critical.", idevid(ca, extra=[(UNKNOWN, False)]), True),
        ("ca-unknown-critical", "Nobody knows it, on the CA.", idevid(strange), False),
        ("name-constraints", "On DNS names, of which it has none.", idevid(constrained), True),
        (
            "policy-constraints",
            "The CA demands a policy below it, and there is none; critical or not, that counts "
            "(RFC 5280 §6.1.4 (i)).",
            idevid(policed),
            False,
        ),
        ("critical-aia", "RFC 5280 §4.2.2.1.", idevid(ca, extra=[(_ISSUER_AT, True)]), False),
        (
            "aia",
            "Where its issuer's certificate is.",
            idevid(ca, extra=[(_ISSUER_AT, False)]),
            True,
        ),
        (
            "leaf-cert-sign",
            "It may sign certificates and is no CA.",
            idevid(ca, key_usage=pki.CA_KEY_USAGE),
            False,
        ),
        ("no-aki", "An IDevID without issuer's key identifier.", idevid(ca, aki=False), True),
        (
            "aki-mismatch",
            "The name and the signature are the issuer's, the key identifier is nobody's: it is "
            "a hint for finding (RFC 5280 §4.2.1.1).",
            idevid(ca, aki=False, extra=[(wrong, False)]),
            True,
        ),
    ]
    return [_case(name, why, leaf, succeeds=good) for name, why, leaf, good in cases]


def _issuers() -> list[LimboCase]:
    top = root()
    no_sign = issuing(top, key_usage=pki.key_usage("crl_sign"))
    no_ca = issuing(top, basic_constraints=_NO_CA)
    deep = pki.make_ca("Below", issuing(top), key=surgery.fixed_key("below"), not_after=pki.NEVER)
    shallow = issuing(root(path_length=0))
    ended = issuing(top, not_after=pki.NOT_AFTER)
    ended_root = issuing(root(not_after=pki.NOT_AFTER))
    edwards = root(key=surgery.fixed_ed25519_key("root"))
    by_device = idevid(idevid(issuing(top), key=surgery.fixed_key("another device")))
    bad = [
        ("no-key-cert-sign", "The issuer may sign lists only.", no_sign, pki.NOW),
        ("no-ca-bit", "The issuer is no CA.", no_ca, pki.NOW),
        ("path-length", "A CA below one that may have none.", deep, pki.NOW),
        ("root-path-length", "The same, of the root.", shallow, pki.NOW),
        ("issuer-expired", "The IDevID never ends, its issuer did.", ended, pki.AFTER),
        ("root-expired", "The IDevID never ends, its root did.", ended_root, pki.AFTER),
    ]
    return [
        *(_case(name, why, idevid(ca), succeeds=False, at=at) for name, why, ca, at in bad),
        _case("ed25519-root", "P-256 below Ed25519.", idevid(edwards), succeeds=True),
        _case("issued-by-a-device", "A device issues another.", by_device, succeeds=False),
    ]


def _searches() -> list[LimboCase]:
    ours, leaf = root(), idevid(issuing(root()))
    one, two = (root(name, label) for name, label in (("One", "1"), ("Two", "2")))
    one_by_two = pki.make_ca("One", two, key=one.private_key, not_after=pki.NEVER)
    two_by_one = pki.make_ca("Two", one, key=two.private_key, not_after=pki.NEVER)
    looped = idevid(one)
    between = (one_by_two.certificate, two_by_one.certificate)
    bare: dict[str, Any] = {"ski": False, "aki": False}
    namesakes = [root(label=f"namesake {i}", **bare).certificate for i in range(_ROOTS)]
    forged = idevid(root(label="forger", **bare), aki=False)
    elsewhere = root("Elsewhere", "elsewhere").certificate
    return [
        _case("loop", "Two CAs that certified each other, and no root.", looped,
              succeeds=False, between=between, trusted=[ours.certificate]),
        _case("loop-to-a-root", "The same, and one of them is trusted.", looped,
              succeeds=True, between=between, trusted=[two.certificate]),
        _case("namesakes", f"{_ROOTS} roots of the issuer's name, none is it.", forged,
              succeeds=False, trusted=namesakes),
        _case("unknown-root", "Another OEM's root.", leaf, succeeds=False, trusted=[elsewhere]),
        _case("intermediate-missing", "The way up is not there.", leaf,
              succeeds=False, between=()),
    ]  # fmt: skip


def _forms() -> list[LimboCase]:
    ca = issuing(root())
    leaf = idevid(ca)
    edits: dict[str, tuple[str, Callable[[Any], None]]] = {
        "rsa-1024": ("A key of 1024 bits.", surgery.with_key(surgery.rsa_spki(1024))),
        "rsa-exponent-1": ("Any signature is right.", surgery.with_key(surgery.rsa_spki(2048, 1))),
        "p-192": ("A key on a curve of 192 bits.", surgery.with_key(surgery.p192_spki())),
        "version-1": ("Before there were extensions.", surgery.without_version),
        "negative-number": ("Its certificate number is -1.", surgery.numbered(-1)),
        "number-zero": ("Its certificate number is 0.", surgery.numbered(0)),
    }
    return [
        _case(name, why, leaf, succeeds=False, der=surgery.altered(leaf, ca, edit))
        for name, (why, edit) in edits.items()
    ]


def cases() -> tuple[LimboCase, ...]:
    """All of them, the same octets each time."""
    return (*_shapes(), *_usages(), *_extensions(), *_issuers(), *_searches(), *_forms())
