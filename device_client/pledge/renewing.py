"""An LDevID is asked for anew: under the one that is there, of a registrar of the domain it is of.

What follows the connection is as in an enrollment (:mod:`device_client.pledge.enrolling`), but that
the subject stays what it is and the former LDevID holds until the new one is kept. RFC 7030 §4.2.2.
"""

from __future__ import annotations

from dataclasses import replace

from cryptography import x509

from brski.errors import UnexpectedResponse
from device_client.pledge import messages
from device_client.pledge.attempt import Onboarding, Transition, known
from device_client.pledge.states import Connected, Report, Send, State, StepName, StepStatus


def ask_domain(onboarding: Onboarding, event: Connected) -> Transition:
    """The server is one of the domain's own, and is asked for the domain's CA certificates.

    Only what ``/cacerts`` once brought is trusted here: the pinned certificate has done its duty
    (RFC 8995 §5.6.2).
    """
    enrollment = known(onboarding.enrollment)
    messages.check_known_registrar(
        event.registrar_chain,
        domain=enrollment.domain,
        host=onboarding.origin.host,
        now=event.now,
    )
    asking = replace(
        onboarding,
        state=State.CA_CERTS,
        registrar_chain=event.registrar_chain,
    )
    return asking, (
        Report(step=StepName.CONNECT, status=StepStatus.OK),
        Send(request=messages.ca_certs_message()),
    )


def check_same_name(former: x509.Certificate, renewed: x509.Certificate) -> None:
    """Raise unless both certificates name the same device, to the octet.

    Raises:
        UnexpectedResponse: subject or subjectAltName differ.

    RFC 7030 §4.2.2.
    """
    if _name_of(former) != _name_of(renewed):
        raise UnexpectedResponse(
            f"the certificate is renewed as {renewed.subject.rfc4514_string()!a:.120}, "
            f"not {former.subject.rfc4514_string()!a:.120}",
            section="RFC 7030 §4.2.2",
        )


def _name_of(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return certificate.subject.public_bytes(), b""
    return certificate.subject.public_bytes(), alternative.value.public_bytes()
