"""The certificate extensions that BRSKI stands on, read and written.

AuthorityKeyIdentifier and SubjectKeyIdentifier name issuers and domains, the MASA-URL extension
names the manufacturer's service, extended key usage tells a registrar. Inside this project an
idevid-issuer is always the 20-octet keyIdentifier; only :func:`encode_idevid_issuer` and
:func:`decode_idevid_issuer` know more forms.
"""

from __future__ import annotations

import hashlib
import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from brski import registry
from brski.errors import Malformed
from brski.pki import der
from brski.pki.keys import UNREADABLE, key_bits, spki_of, spki_sha256

KEY_IDENTIFIER_OCTETS: Final = 20

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_MASA_URL: Final = x509.ObjectIdentifier(registry.ID_PE_MASA_URL)
_CLIENT_USAGES: Final = frozenset(
    {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)
_AKI_LIMIT: Final = 1024
_MASA_URL_LIMIT: Final = 512
_URL: Final = re.compile(
    r"(?:[Hh][Tt][Tt][Pp][Ss]?://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?)",
)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_AKI_SECTION: Final = "RFC 8366bis §6.3"
_URL_SECTION: Final = "RFC 8995 §2.3.2"


def key_identifier(spki: bytes) -> bytes:
    """The identifier of a key: SHA-1 of the BIT STRING's content without its unused-bits octet.

    An identifier only; nothing is ever proven by it.

    Args:
        spki: SubjectPublicKeyInfo, DER.

    Returns:
        20 octets.

    Raises:
        Malformed: no SubjectPublicKeyInfo.

    RFC 5280 §4.2.1.2, method (1).
    """
    return hashlib.sha1(key_bits(spki), usedforsecurity=False).digest()


def authority_key_identifier(certificate: x509.Certificate) -> bytes | None:
    """The keyIdentifier of the AuthorityKeyIdentifier extension, raw; None where there is none.

    RFC 5280 §4.2.1.1.
    """
    extension = _extension(certificate, x509.AuthorityKeyIdentifier)
    return extension.key_identifier if extension else None


def subject_key_identifier(certificate: x509.Certificate) -> bytes | None:
    """The SubjectKeyIdentifier extension, raw; None where there is none.

    RFC 5280 §4.2.1.2.
    """
    extension = _extension(certificate, x509.SubjectKeyIdentifier)
    return extension.digest if extension else None


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except UNREADABLE as err:
        raise Malformed("the certificate's extensions cannot be read") from err


def idevid_issuer_of(certificate: x509.Certificate) -> bytes:
    """Name the issuer of an IDevID: the keyIdentifier of its AuthorityKeyIdentifier.

    Without one, the identifier of the IDevID's own key stands in, as RFC 8366bis says literally.

    Args:
        certificate: an IDevID.

    Returns:
        20 octets.

    Raises:
        Malformed: the keyIdentifier has another length.

    RFC 8366bis §6.1, §6.3.
    """
    identifier = authority_key_identifier(certificate)
    if identifier is None:
        return key_identifier(spki_of(certificate))
    return _check_key_identifier(identifier)


def _check_key_identifier(identifier: bytes) -> bytes:
    if len(identifier) != KEY_IDENTIFIER_OCTETS:
        raise Malformed(
            f"keyIdentifier of {len(identifier)} octets, not {KEY_IDENTIFIER_OCTETS}",
            section=_AKI_SECTION,
        )
    return identifier


def encode_idevid_issuer(identifier: bytes) -> bytes:
    """Write an idevid-issuer leaf: the whole extnValue, OCTET STRING header included.

    Args:
        identifier: the keyIdentifier, 20 octets.

    Returns:
        26 octets: ``04 18 30 16 80 14`` and the keyIdentifier.

    Raises:
        Malformed: *identifier* is not 20 octets.

    RFC 8366bis §6.3.
    """
    aki = der.encode(der.SEQUENCE, der.encode(0x80, _check_key_identifier(identifier)))
    return der.encode(der.OCTET_STRING, aki)


def decode_idevid_issuer(octets: bytes) -> bytes:
    """Read an idevid-issuer leaf in any of the forms that are met.

    Args:
        octets: the extnValue with its OCTET STRING header (26 octets), the AuthorityKeyIdentifier
            in it (24), or the bare keyIdentifier (20); the first two may also name the issuer and
            its serial number.

    Returns:
        The keyIdentifier, 20 octets.

    Raises:
        Malformed: none of these.
        TooLarge: more than 1 kB, or nested deeper than any name is.

    RFC 8366bis §6.3.
    """
    if len(octets) == KEY_IDENTIFIER_OCTETS:
        return octets
    der.check_der(octets, max_octets=_AKI_LIMIT)
    element = der.read_element(octets)
    if element.tag == der.OCTET_STRING:
        return _key_identifier_of_aki(der.content_of(octets, element))
    return _key_identifier_of_aki(octets)


def _key_identifier_of_aki(aki: bytes) -> bytes:
    der.check_der(aki)
    element = der.read_element(aki)
    fields = der.children(aki, element) if element.tag == der.SEQUENCE else []
    tags = [field.tag for field in fields]
    if not tags or tags[0] != 0x80 or tags[1:] not in ([], [0xA1, 0x82]):
        raise Malformed(
            "idevid-issuer is no AuthorityKeyIdentifier with a keyIdentifier", section=_AKI_SECTION
        )
    return _check_key_identifier(der.content_of(aki, fields[0]))


def masa_url_extension(value: str) -> x509.UnrecognizedExtension:
    """Build the MASA-URL extension; it goes into a certificate as not critical.

    Args:
        value: what :func:`masa_base_url` accepts, such as ``"masa.example.com:9443"``.

    Raises:
        Malformed: as :func:`masa_base_url`.

    RFC 8995 §2.3.2.
    """
    masa_base_url(value)
    return x509.UnrecognizedExtension(_MASA_URL, der.encode(der.IA5_STRING, value.encode("ascii")))


def masa_url(certificate: x509.Certificate) -> str | None:
    """Read the MASA-URL extension as it stands; None where there is none.

    Returns:
        The IA5String; :func:`masa_base_url` makes an address of it.

    Raises:
        Malformed: the extension is no IA5String.
        TooLarge: more than 512 characters.

    RFC 8995 §2.3.2.
    """
    try:
        value = certificate.extensions.get_extension_for_oid(_MASA_URL).value.public_bytes()
    except x509.ExtensionNotFound:
        return None
    except UNREADABLE as err:
        raise Malformed("the certificate's extensions cannot be read") from err
    der.check_der(value, max_octets=_MASA_URL_LIMIT + 4)
    element = der.read_element(value)
    text = der.content_of(value, element)
    if element.tag != der.IA5_STRING or not text.isascii():
        raise Malformed("MASA-URL extension is no IA5String", section=_URL_SECTION)
    return text.decode("ascii")


def masa_base_url(value: str) -> str:
    """Turn the value of a MASA-URL extension, or of a setting, into the address of the MASA.

    ``host`` and ``host:port`` stand for the well-known path there; with a path it is that path, and
    a path that is only ``/`` is none. The scheme is https whatever the value says.

    Args:
        value: host, host:port, either with a path, any of them after ``https://`` or ``http://``.

    Returns:
        Such as ``"https://masa.example.com:9443/.well-known/brski"``: lower-case host, no slash at
        the end.

    Raises:
        Malformed: another scheme, credentials, query, fragment, percent-encoding, ``.`` or ``..``
            in the path, a port beyond 65535, or a host that is neither a domain name nor an
            address.

    RFC 8995 §2.3.2.
    """
    match = _URL.fullmatch(value) if len(value) <= _MASA_URL_LIMIT else None
    if match is None:
        raise Malformed(
            f"MASA URL {value[:80]!r} is no host with port or path", section=_URL_SECTION
        )
    port, path = match["port"] or "", match["path"].rstrip("/")
    if any(segment in (".", "..") for segment in path.split("/")):
        raise Malformed(f"MASA URL {value[:80]!r} with a relative path", section=_URL_SECTION)
    if port and int(port) > 0xFFFF:
        raise Malformed(f"MASA URL with port {port}", section=_URL_SECTION)
    authority = _check_host(match["host"].lower()) + (f":{port}" if port else "")
    return f"https://{authority}{path or registry.BRSKI_ROOT}"


def _check_host(host: str) -> str:
    labels = host.split(".")
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1]).compressed}]"
        # a last label of digits makes it an address, in whatever odd notation a resolver would read
        # it
        if labels[-1].isdigit() or re.fullmatch(r"0x[0-9a-f]*", labels[-1]):
            return str(IPv4Address(host))
    except AddressValueError as err:
        raise Malformed(f"MASA host {host!r} is no address", section=_URL_SECTION) from err
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise Malformed(f"MASA host {host!r} is no domain name", section=_URL_SECTION)
    return host


def has_extended_key_usage(certificate: x509.Certificate, oid: str) -> bool:
    """Whether the certificate names this usage itself; anyExtendedKeyUsage does not count.

    Args:
        certificate: as parsed.
        oid: dotted, such as ``registry.ID_KP_CMC_RA``.

    RFC 5280 §4.2.1.12; RFC 8995 §5.5.4.
    """
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    return usage is not None and x509.ObjectIdentifier(oid) in usage


def may_be_a_client(certificate: x509.Certificate) -> bool:
    """Whether the certificate's extended key usages, if it has any, let it be a TLS client's.

    RFC 5280 §4.2.1.12.
    """
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    return usage is None or not _CLIENT_USAGES.isdisjoint(usage)


def hardware_module_name(hardware_type: str, serial_number: bytes) -> x509.OtherName:
    """Build the hardwareModuleName that 802.1AR puts into an IDevID's subjectAltName.

    Args:
        hardware_type: dotted object identifier of the hardware.
        serial_number: hwSerialNum, raw.

    Raises:
        Malformed: *hardware_type* is no object identifier.

    RFC 4108 §5; IEEE 802.1AR-2018 §8.6.
    """
    value = der.encode(
        der.SEQUENCE,
        der.encode_oid(hardware_type),
        der.encode(der.OCTET_STRING, serial_number),
    )
    return x509.OtherName(x509.ObjectIdentifier(registry.ID_ON_HARDWARE_MODULE_NAME), value)


def domain_id(certificate: x509.Certificate) -> bytes:
    """The domainID of audit logs: SubjectKeyIdentifier, or SHA-256 of the SubjectPublicKeyInfo.

    Args:
        certificate: the pinned domain certificate.

    Returns:
        20 octets as a rule, 32 without the extension.

    RFC 8995 §5.8.2.
    """
    return subject_key_identifier(certificate) or spki_sha256(certificate)
