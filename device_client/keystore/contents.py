"""The files of one generation of the keystore: their names, and how their contents are read.

``state.json`` says what the rest is. Whatever was not written by this program, or is damaged, is a
:class:`~brski.errors.StateError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from cryptography import x509

from brski.edge.signers.file import pem_of
from brski.errors import PeerError, StateError
from brski.pki import strict_json
from brski.pki.keys import certificate_der, parse_certificate, parse_pem_certificates
from device_client.keystore.port import Purpose
from device_client.pledge.origin import parse_origin
from device_client.pledge.states import DomainCertificates, Enrollment, Phase, Renewal

VERSION: Final = 1
STATE: Final = "state.json"
KEY: Final = "ldevid-key.pem"
CSR: Final = "csr.der"
LDEVID: Final = "ldevid.pem"
ANCHORS: Final = "anchors.pem"
CA_CERTS: Final = "ca-certs.pem"
PIN: Final = "pinned-domain-cert.der"
NEXT_KEY: Final = "next-ldevid-key.pem"  # of a renewal with a fresh key, until it is finished
NEXT_CSR: Final = "next-csr.der"
RENEWAL: Final = "renewal"  # in state.json: what has begun, and for which purpose
REQUESTED: Final = "requested"
PHASES: Final = {
    REQUESTED: Phase.FACTORY,
    "enrolled": Phase.UNREPORTED,
    "reported": Phase.ENROLLED,
}


def purpose_fields(purpose: Purpose) -> dict[str, bytes]:
    return {"device": purpose.device, "domain": purpose.domain, "wanted": purpose.wanted}


def enrollment_files(enrollment: Enrollment) -> dict[str, bytes]:
    """The certificates of an LDevID that is kept."""
    return {
        LDEVID: pem_of(enrollment.ldevid_chain),
        ANCHORS: pem_of(enrollment.domain.anchors),
        CA_CERTS: pem_of(enrollment.domain.certificates),
        PIN: certificate_der(enrollment.pinned_domain_cert),
    }


def renewal_of(state: Mapping[str, object]) -> Renewal | None:
    """The renewal that has begun, if any.

    Raises:
        StateError: it is none that we know.
    """
    if RENEWAL not in state:
        return None
    try:
        return Renewal(text_of(state, RENEWAL))
    except ValueError as err:
        raise StateError(f"{STATE} names no renewal") from err


def encode_state(state: Mapping[str, object]) -> bytes:
    return json.dumps({"version": VERSION, **state}, indent=2).encode() + b"\n"


def state_of(files: Mapping[str, bytes]) -> dict[str, object]:
    try:
        state = strict_json.loads(needed(files, STATE))
    except PeerError as err:
        raise StateError(f"{STATE} cannot be read: {err.reason}") from err
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise StateError(f"{STATE} is not of version {VERSION}")
    if state.get("phase") not in PHASES:
        raise StateError(f"{STATE} names no phase")
    return state


def text_of(state: Mapping[str, object], name: str) -> str:
    value = state.get(name)
    if not isinstance(value, str):
        raise StateError(f"{STATE} has no {name}")
    return value


def digest_of(state: Mapping[str, object], name: str) -> bytes:
    text = text_of(state, name)
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise StateError(f"{name} in {STATE} is no SHA-256")
    return bytes.fromhex(text)


def needed(files: Mapping[str, bytes], name: str) -> bytes:
    if not files.get(name):
        raise StateError(f"{name} is missing from the keystore")
    return files[name]


def enrollment_of(files: Mapping[str, bytes], state: Mapping[str, object]) -> Enrollment:
    chain = chain_of(files, LDEVID)
    try:
        return Enrollment(
            origin=parse_origin(text_of(state, "registrar")),
            ldevid_chain=chain,
            domain=DomainCertificates(
                anchors=chain_of(files, ANCHORS), certificates=chain_of(files, CA_CERTS)
            ),
            pinned_domain_cert=parse_certificate(needed(files, PIN)),
        )
    except PeerError as err:
        raise StateError(f"the keystore cannot be read: {err.reason}") from err


def chain_of(files: Mapping[str, bytes], name: str) -> tuple[x509.Certificate, ...]:
    try:
        return parse_pem_certificates(needed(files, name))
    except PeerError as err:
        raise StateError(f"{name} cannot be read: {err.reason}") from err
