"""Certificates for public keys that workers derived: in this process, or by workers of their own.

A worker that certifies reads the issuing CA's key from its file, and never opens a chunk: no
process holds both a seed and the CA's key (docs/factory.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.edge.signers.file import load_signer
from brski.errors import Malformed
from brski.idevid import fields
from brski.idevid.profile import IDevIDProfile
from brski.pki import cbor
from brski.pki.keys import certificate_der, parse_certificate
from brski.seed.batch import MOST_RECORDS_A_CHUNK

_MOST_OCTETS: Final = 1 << 27  # of a job or an answer; 10,000 ML-DSA-87 certificates have 75 MB
_MOST_SPKI_OCTETS: Final = 4096
_MOST_CERTIFICATE_OCTETS: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all certificates of one build list have in common."""

    issuer: x509.Certificate
    masa_url: str
    not_before: datetime
    hardware_module_type: str | None

    def profile(self) -> IDevIDProfile:
        """Lay the certificates out.

        Raises:
            SettingsError: no certificate can be made with these.
        """
        return IDevIDProfile(
            issuer=self.issuer,
            masa_url=self.masa_url,
            not_before=self.not_before,
            hardware_module_type=self.hardware_module_type,
        )


def encode_certification(
    terms: Terms, issuing_key: Path, devices: Iterable[tuple[str, bytes]]
) -> bytes:
    """A job for :func:`certify_keys`.

    Args:
        issuing_key: PEM, 0600; the key of ``terms.issuer``.
        devices: serial number and SubjectPublicKeyInfo (DER) of each.
    """
    return cbor.encode(
        [
            *(certificate_der(terms.issuer), terms.masa_url, int(terms.not_before.timestamp())),
            *(terms.hardware_module_type, str(issuing_key), [[*each] for each in devices]),
        ]
    )


def certify_keys(job: bytes) -> bytes:
    """Certify each device of a job.

    Args:
        job: from :func:`encode_certification`.

    Returns:
        For :func:`parse_certified`, in the order of the job.

    Raises:
        KeyUnusable: the key file cannot be read, is open to others, or holds another key.
        KeyNotAllowed, Malformed: see :meth:`brski.idevid.profile.IDevIDProfile.certify`.
    """
    items = fields.take_array(cbor.decode(job, max_octets=_MOST_OCTETS), "job", least=6, most=6)
    issuer, masa_url, not_before, hardware_type, key_path, devices = items
    terms = Terms(
        issuer=parse_certificate(
            fields.take_octets(issuer, "issuer", least=1, most=_MOST_CERTIFICATE_OCTETS)
        ),
        masa_url=fields.take_text(masa_url, "MASA URL"),
        not_before=datetime.fromtimestamp(fields.take_uint(not_before, "notBefore"), UTC),
        hardware_module_type=None
        if hardware_type is None
        else fields.take_text(hardware_type, "hardware type"),
    )
    profile = terms.profile()
    signer = load_signer(Path(fields.take_text(key_path, "path")), deterministic=True)
    listed = fields.take_array(devices, "devices", least=1, most=MOST_RECORDS_A_CHUNK)
    return cbor.encode(
        [profile.certify(spki, number, signer) for number, spki in map(_take_device, listed)]
    )


def parse_certified(answer: bytes, count: int) -> Sequence[bytes]:
    """What :func:`certify_keys` answered: *count* certificates, DER.

    Raises:
        Malformed: it is something else.
    """
    items = fields.take_array(
        cbor.decode(answer, max_octets=_MOST_OCTETS), "answer", least=count, most=count
    )
    most = _MOST_CERTIFICATE_OCTETS
    return [fields.take_octets(item, "certificate", least=1, most=most) for item in items]


def _take_device(item: cbor.Item) -> tuple[str, bytes]:
    match item:
        case [str() as serial_number, bytes() as spki] if len(spki) <= _MOST_SPKI_OCTETS:
            return serial_number, spki
        case _:
            raise Malformed("a device is not a serial number and a public key")
