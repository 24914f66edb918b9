"""Targets: what EST clients and servers send one another, and certificates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from brski.errors import LocalError, PeerError, Refused
from brski.est.certs_only import decode_certs_only, encode_certs_only
from brski.est.change_subject_name import change_of_subject_name, encode_change_subject_name
from brski.est.csr import parse_csr
from brski.est.csr_attributes import decode_csr_attributes, encode_csr_attributes
from brski.est.csr_template import encode_csr_template, parse_csr_template
from brski.est.key_request import CIPHERS, parse_key_request
from brski.est.requirements import P256, CSRRequirements
from brski.est.transfer import decode_base64, encode_base64
from brski.idevid.assertion import is_asserted, read_assertion
from brski.pki import extensions, names
from brski.pki.chain import TrustAnchors, check_presented_chain
from brski.pki.keys import certificate_der, parse_certificate, parse_pem_certificates, spki_of
from registrar_plugin.identity.presented import claimed_serial_number, parse_presented
from tests.fuzz import bench
from tests.fuzz.harness import Target, either

_ANCHORS: Final = TrustAnchors([bench.ROOT.certificate])
_WANTED: Final = CSRRequirements(keys=(P256,), optional_extensions=frozenset({"2.5.29.17"}))


def _csr(data: bytes) -> None:
    csr = parse_csr(data)
    assert csr.der == data
    assert bench.recoded(data) == data
    assert csr.spki in data
    assert len({extension.oid for extension in csr.extensions}) == len(csr.extensions)
    change = change_of_subject_name(csr)
    assert change is None or encode_change_subject_name(change) in data
    _WANTED.check(csr)


def _key_request(data: bytes) -> None:
    request = parse_key_request(data)
    if request.own_key is not None:
        assert parse_csr(data).digest == request.digest
    if request.protection is not None:
        assert request.protection.key_identifier in data
        assert request.protection.cipher in CIPHERS


def _csr_inside(data: bytes) -> None:
    _csr(bench.request_of(data))


def _csr_attributes(data: bytes) -> None:
    found = decode_csr_attributes(data)
    assert bench.recoded(data) == data
    with suppress(LocalError):  # what only a template can say
        wanted = found.requirements
        again = decode_csr_attributes(encode_csr_attributes(wanted)).requirements
        assert again.keys in (wanted.keys[:1], ())  # a template may name any algorithm
        named = dict.fromkeys(wanted.subject)  # the list form tells a subject's parts by their arc
        assert again.subject == tuple(part for part in named if part.oid.startswith("2.5.4."))
        assert set(again.extensions) == set(wanted.extensions)
    if found.template is not None:
        rewritten = parse_csr_template(encode_csr_template(found.template))
        assert rewritten.requirements() == found.template.requirements()


def _certs_only(data: bytes) -> None:
    certificates = decode_certs_only(data)
    assert certificates
    distinct = tuple(dict.fromkeys(certificates))
    assert set(decode_certs_only(encode_certs_only(distinct))) == set(certificates)


def _est_body(data: bytes) -> None:
    octets = decode_base64(data)
    for shape in ("auto", "line", "wrap"):
        assert decode_base64(encode_base64(octets, shape)) == octets


def _client_chain(data: bytes) -> None:
    """What a TLS client showed, down to who it may be."""
    chain = bench.elements(data)
    claimed_serial_number(chain)
    presented = parse_presented(chain)
    assert [certificate_der(one) for one in presented.chain] == chain
    if is_asserted(presented.chain):
        asserted = read_assertion(presented.chain[0])
        assert asserted.spki == presented.spki
        return
    for certificate in presented.chain:
        _look_at(certificate_der(certificate))
    with suppress(PeerError):
        check_presented_chain(presented.chain)
    leaf, *others = presented.chain
    clockless = _valid(lambda: _ANCHORS.validate_without_clock(leaf, others))
    found = _valid(lambda: _ANCHORS.validate(leaf, others, at=bench.CREATED))
    assert clockless or not found
    names.device_serial_number(leaf)


def _valid(validate: Callable[[], object]) -> bool:
    try:
        validate()
    except (PeerError, Refused):
        return False
    return True


def _look_at(octets: bytes) -> None:
    """Everything that is ever read of a certificate."""
    certificate = parse_certificate(octets)
    assert spki_of(certificate) in octets
    with suppress(PeerError):
        extensions.idevid_issuer_of(certificate)
    with suppress(PeerError):
        url = extensions.masa_url(certificate)
        if url is not None:
            assert extensions.masa_base_url(url).startswith("https://")
    with suppress(PeerError):
        identifier = extensions.authority_key_identifier(certificate)
        if identifier is not None and len(identifier) == extensions.KEY_IDENTIFIER_OCTETS:
            leaf = extensions.encode_idevid_issuer(identifier)
            assert extensions.decode_idevid_issuer(leaf) == identifier
    extensions.has_extended_key_usage(certificate, "1.3.6.1.5.5.7.3.28")
    extensions.domain_id(certificate)


def _certificate_inside(data: bytes) -> None:
    """The input as a certificate's contents, well signed by a CA that is trusted."""
    leaf = parse_certificate(bench.certified(data))
    _look_at(certificate_der(leaf))
    with suppress(PeerError):
        _ANCHORS.validate(leaf, [bench.ISSUING.certificate], at=bench.CREATED)
    with suppress(PeerError):
        _ANCHORS.validate_without_clock(leaf, [bench.ISSUING.certificate])
    names.device_serial_number(leaf)


def _idevid_issuer(data: bytes) -> None:
    identifier = extensions.decode_idevid_issuer(data)
    assert identifier in data
    assert len(identifier) == extensions.KEY_IDENTIFIER_OCTETS


def _pem(data: bytes) -> None:
    for certificate in parse_pem_certificates(data):
        assert parse_certificate(certificate_der(certificate)) == certificate


ENROLLMENT: Final = (
    Target(name="csr", run=either(_csr, _csr_inside), octets=4096),
    Target(name="key-request", run=_key_request, octets=4096),
    Target(name="csrattrs", run=_csr_attributes, octets=2048),
    Target(name="certs-only", run=_certs_only),
    Target(name="est-body", run=_est_body, octets=4096),
    Target(name="client-chain", run=_client_chain),
    Target(name="certificate", run=_certificate_inside, octets=2048),
    Target(name="idevid-issuer", run=_idevid_issuer, octets=256),
    Target(name="pem", run=_pem, octets=4096),
)
