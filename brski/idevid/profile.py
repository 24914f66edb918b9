"""The certificate that the factory writes for a device (docs/idevid-certificate.md).

Every octet before the signature follows from four things: the public key, the serial number, the
issuing certificate and the date of the build list. No clock and no randomness, so a run that was
killed comes to the same certificates again. Knows public keys only.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from brski.errors import KeyUnusable, Malformed, SettingsError
from brski.idevid import certificate
from brski.pki import der, extensions, keys, signatures
from brski.pki.signer import Signer
from brski.registry import (
    ID_CE_SUBJECT_ALT_NAME,
    ID_ON_HARDWARE_MODULE_NAME,
)

CERT_SERIAL_OCTETS: Final = 20  # RFC 5280 §4.1.2.2: the most that is allowed

_SERIAL_HEADER: Final = bytes((der.INTEGER, CERT_SERIAL_OCTETS))
_NO_SERIAL: Final = bytes(CERT_SERIAL_OCTETS)
_IDENTIFIER_OCTETS: Final = extensions.KEY_IDENTIFIER_OCTETS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SUBJECT: Final = 5  # field of a v3 TBSCertificate: version, serial, algorithm, issuer, validity, …
_OTHER_NAME: Final = der.encode_oid(ID_ON_HARDWARE_MODULE_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """The octets of a TBSCertificate between the values that differ from device to device."""

    before_serial: bytes  # then the certificate's serial number
    before_subject: bytes  # then the device's serial number and its SubjectPublicKeyInfo
    before_key_identifier: bytes  # then the key identifier
    before_hardware_serial: bytes  # then the device's serial number again, if this is not empty
    end: bytes


class IDevIDProfile:
    """What all certificates of one build list have in common, laid out once.

    Args:
        issuer: the issuing CA's certificate: may sign certificates, has a SubjectKeyIdentifier of
            20 octets, and ends at 99991231235959Z as the devices' certificates do.
        masa_url: value of the MASA-URL extension; ``host`` or ``host:port`` is RECOMMENDED.
        not_before: the build list's ``created``; aware, whole seconds, 1970 or later.
        hardware_module_type: dotted object identifier (hwType), or None to leave the
            hardwareModuleName out; its hwSerialNum is the serial number in ASCII.

    Raises:
        SettingsError: one of these does not fit.

    IEEE 802.1AR; RFC 8995 §2.3; RFC 4108 §5.
    """

    __slots__ = (
        "_algorithm",
        "_before_subject",
        "_first_extension",
        "_hardware_module_type",
        "_issuer",
        "_issuer_key",
        "_last_extension",
        "_layouts",
        "_serial_key",
        "_signer",
    )

    def __init__(
        self,
        *,
        issuer: x509.Certificate,
        masa_url: str,
        not_before: datetime,
        hardware_module_type: str | None = None,
    ) -> None:
        _check_not_before(not_before)
        _check_issuing(issuer)
        self._issuer = issuer
        self._issuer_key = keys.public_key_of_certificate(issuer)
        self._algorithm = signatures.signature_algorithm(self._issuer_key)
        self._serial_key = keys.spki_sha256(issuer)
        self._before_subject = (
            self._algorithm + _subject_of(issuer) + certificate.encode_validity(not_before)
        )
        self._first_extension = certificate.encode_authority_key_identifier(_identifier_of(issuer))
        self._last_extension = _encode_masa_url(masa_url)
        self._hardware_module_type = _check_hardware_module_type(hardware_module_type)
        self._signer: Signer | None = None  # the last one whose key was compared
        self._layouts: dict[tuple[int, int], _Layout] = {}

    @property
    def issuer(self) -> x509.Certificate:
        """The issuing CA's certificate."""
        return self._issuer

    def tbs(self, spki: bytes, serial_number: str) -> bytes:
        """Lay out what the issuing CA is to sign for one device.

        Args:
            spki: the device's SubjectPublicKeyInfo, DER.
            serial_number: the device's.

        Returns:
            DER TBSCertificate; the same octets for the same input, always.

        Raises:
            KeyNotAllowed: see :func:`brski.pki.keys.check_spki`.
            Malformed: see :func:`brski.idevid.certificate.check_certifiable`.

        docs/idevid-certificate.md.
        """
        keys.check_spki(spki)
        certificate.check_certifiable(serial_number)
        layout = self._layout(len(serial_number), len(spki))
        value = serial_number.encode("ascii")
        after_serial = b"".join(
            (
                layout.before_subject,
                *(value, spki, layout.before_key_identifier, extensions.key_identifier(spki)),
                layout.before_hardware_serial,
                value if self._hardware_module_type is not None else b"",
                layout.end,
            )
        )
        zeroed = b"".join((layout.before_serial, _NO_SERIAL, after_serial))
        serial = _cert_serial(hmac.digest(self._serial_key, zeroed, "sha256"))
        return b"".join((layout.before_serial, serial, after_serial))

    def assemble(self, tbs: bytes, signature: bytes) -> bytes:
        """Put the issuing CA's signature to what :meth:`tbs` gave.

        Args:
            tbs: DER TBSCertificate of this profile.
            signature: over *tbs*, as :meth:`brski.pki.signer.Signer.sign` gives it; not verified.

        Returns:
            DER Certificate.

        RFC 5280 §4.1.
        """
        return certificate.encode_certificate(tbs, self._algorithm, signature)

    def certify(self, spki: bytes, serial_number: str, signer: Signer) -> bytes:
        """:meth:`tbs`, the signature and :meth:`assemble` in one.

        Args:
            spki: the device's SubjectPublicKeyInfo, DER.
            serial_number: the device's.
            signer: holds the issuing CA's key; its chain is not looked at.

        Returns:
            DER Certificate; the same octets again where the signer is deterministic.

        Raises:
            KeyUnusable: *signer* does not hold the issuing certificate's key, or cannot sign now.
            KeyNotAllowed, Malformed: see :meth:`tbs`.
        """
        if signer is not self._signer:
            if signer.public_key != self._issuer_key:
                raise KeyUnusable("the signer's key is not the one in the issuing certificate")
            self._signer = signer
        tbs = self.tbs(spki, serial_number)
        return self.assemble(tbs, signer.sign(tbs))

    def _layout(self, serial_octets: int, spki_octets: int) -> _Layout:
        """Everything around the values, which depends on nothing but how long they are."""
        found = self._layouts.get((serial_octets, spki_octets))
        if found is None:
            found = self._lay_out("0" * serial_octets, spki_octets)
            self._layouts[serial_octets, spki_octets] = found
        return found

    def _lay_out(self, serial_number: str, spki_octets: int) -> _Layout:
        name = certificate.encode_name(serial_number)
        identifier = certificate.encode_subject_key_identifier(bytes(_IDENTIFIER_OCTETS))
        module_name = self._encode_hardware_module_name(serial_number)
        present = (self._first_extension, identifier, module_name, self._last_extension)
        extended = certificate.encode_extensions(*present)
        head = extended[: -sum(map(len, present))]
        after_serial = len(self._before_subject) + len(name) + spki_octets + len(extended)
        content = certificate.VERSION_3 + _SERIAL_HEADER
        whole = der.encode(der.SEQUENCE, content, bytes(CERT_SERIAL_OCTETS + after_serial))
        return _Layout(
            before_serial=whole[: -CERT_SERIAL_OCTETS - after_serial],
            before_subject=self._before_subject + name[: -len(serial_number)],
            before_key_identifier=head + self._first_extension + identifier[:-_IDENTIFIER_OCTETS],
            before_hardware_serial=module_name[: -len(serial_number)],
            end=self._last_extension,
        )

    def _encode_hardware_module_name(self, serial_number: str) -> bytes:
        """SubjectAltName with one otherName, or nothing where no hardware type is configured."""
        if self._hardware_module_type is None:
            return b""
        module_name = extensions.hardware_module_name(
            self._hardware_module_type, serial_number.encode("ascii")
        )
        other_name = der.encode(0xA0, _OTHER_NAME, der.encode(0xA0, module_name.value))
        names = der.encode(der.SEQUENCE, other_name)
        return certificate.encode_extension(ID_CE_SUBJECT_ALT_NAME, names)


def _cert_serial(mac: bytes) -> bytes:
    # The top bit clear makes it positive, the next one set keeps its length at 20 octets.
    return bytes((mac[0] & 0x3F | 0x40,)) + mac[1:CERT_SERIAL_OCTETS]


def _check_not_before(not_before: datetime) -> None:
    if not_before.tzinfo is None or not_before.microsecond or not_before < _EPOCH:
        raise SettingsError(
            f"notBefore {not_before.isoformat()} is not a whole second of known zone since 1970",
            section="RFC 5280 §4.1.2.5",
        )


def _check_issuing(issuer: x509.Certificate) -> None:
    if not _may_sign_certificates(issuer):
        raise SettingsError(
            "issuing certificate is not one of a CA that may sign certificates",
            section="RFC 5280 §4.2.1.9",
        )
    if issuer.not_valid_after_utc != certificate.NOT_AFTER:
        raise SettingsError(
            f"issuing certificate ends at {issuer.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}, "
            "before the devices' certificates do",
            section="RFC 5280 §4.1.2.5",
            hint="give the OEM's root and issuing CA the notAfter 99991231235959Z",
        )


def _may_sign_certificates(issuer: x509.Certificate) -> bool:
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and usage.key_cert_sign


def _identifier_of(issuer: x509.Certificate) -> bytes:
    identifier = extensions.subject_key_identifier(issuer)
    if identifier is None or len(identifier) != extensions.KEY_IDENTIFIER_OCTETS:
        raise SettingsError(
            "issuing certificate has no SubjectKeyIdentifier of 20 octets",
            section="RFC 5280 §4.2.1.2",
        )
    return identifier


def _subject_of(issuer: x509.Certificate) -> bytes:
    # Cut out, not encoded anew: path building compares names as octets (RFC 5280 §7.1).
    tbs = issuer.tbs_certificate_bytes
    return der.octets_of(tbs, der.children(tbs, der.read_element(tbs))[_SUBJECT])


def _encode_masa_url(masa_url: str) -> bytes:
    try:
        return certificate.encode_masa_url(masa_url)
    except Malformed as err:
        raise SettingsError(f"MASA URL: {err.reason}", section="RFC 8995 §2.3.2") from err


def _check_hardware_module_type(dotted: str | None) -> str | None:
    try:
        if dotted is not None:
            der.encode_oid(dotted)
    except Malformed as err:
        raise SettingsError(f"hardware module type: {err.reason}", section="RFC 4108 §5") from err
    return dotted
