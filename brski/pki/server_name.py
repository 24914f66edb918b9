"""Whether a certificate is for the host that was asked for. RFC 9525 §6."""

from __future__ import annotations

import ipaddress

from cryptography import x509


def names_server(certificate: x509.Certificate, host: str) -> bool:
    """Whether *certificate* names *host*, in its subjectAltName and nowhere else.

    A wildcard stands for one whole label, the leftmost, and not right below the top of the DNS. An
    address is compared with iPAddress entries only, a name with dNSName entries only. The common
    name says nothing.

    Args:
        certificate: whose chain has been validated by the caller.
        host: a DNS name in its ASCII form, or an address without brackets.

    RFC 9525 §6.3, §6.5; RFC 5280 §4.2.1.6.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(_fits(name, host) for name in names.get_values_for_type(x509.DNSName))
    return address in names.get_values_for_type(x509.IPAddress)


def _fits(name: str, host: str) -> bool:
    wanted = host.lower().removesuffix(".").split(".")
    given = name.lower().split(".")
    if len(given) != len(wanted) or not all(given) or not all(wanted):
        return False
    if given[0] == "*" and len(given) > 2:
        given, wanted = given[1:], wanted[1:]
    return "*" not in name[1:] and given == wanted
