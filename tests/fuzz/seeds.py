"""Write the seed corpus: small sound inputs of each target, and their nearest neighbours.

    python -m tests.fuzz.seeds

Keys are numbers that anybody can guess and signatures are deterministic, so a second run changes
nothing. The files need not follow each change of our own writers: they are inputs, not promises.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.est.attributes import Attribute, encode_attribute
from brski.est.certs_only import encode_certs_only
from brski.est.change_subject_name import ChangeSubjectName, encode_change_subject_name
from brski.est.csr import build_csr
from brski.est.csr_attributes import Announcement, encode_csr_attributes
from brski.est.requirements import P256, CSRRequirements, SubjectRequirement
from brski.est.transfer import encode_base64
from brski.idevid.assertion import assertion_certificate
from brski.idevid.build_list import BuildEntry, BuildListWriter
from brski.idevid.bundle import BundleOrigin, BundleWriter, CertifiedDevice, Revocation
from brski.idevid.manifest import ManifestTerms, write_manifest
from brski.idevid.record import DeviceRecord, Presentation
from brski.idevid.record_json import encode_records
from brski.pki import cbor, der, extensions, names
from brski.pki.keys import certificate_der, spki_of
from brski.registry import (
    AES128_CBC,
    AES256_GCM,
    ID_AA_ASYMM_DECRYPT_KEY_ID,
    ID_CMC_CHANGE_SUBJECT_NAME,
    ID_SMIME_CAPABILITIES,
)
from brski.seed import batch
from brski.seed.cms_batch import sign_cms
from brski.seed.lines import encode_header_lines, encode_manifest_lines
from brski.telemetry.audit_log import AuditEvent, AuditLog, Truncation, encode_audit_log
from brski.telemetry.status import Status, encode_status
from brski.voucher import signed_data
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion
from brski.voucher.yang_json import encode_voucher, encode_voucher_request
from tests.fuzz import bench
from tests.kit import est, pki
from tests.kit.voucher import NONCE, pledge_request, voucher_for

CORPUS: Final = Path(__file__).parent / "corpus"
_DEVICE: Final = certificate_der(bench.DEVICE.certificate)
_ISSUER: Final = extensions.idevid_issuer_of(bench.DEVICE.certificate)


def _messages() -> Iterator[tuple[str, str, bytes]]:
    request = pledge_request(bench.REGISTRAR)
    document = encode_voucher_request(request)
    signer = bench.DEVICE.signer
    yield "voucher-request", "document", document
    yield "voucher-request", "carried", CMS.sign(document, signer, certificates=signer.chain[:-1])
    yield (
        "voucher-request",
        "asserted",
        CMS.sign(document, signer, name_by_key_identifier=True, signing_time=bench.CREATED),
    )
    yield "voucher-request", "small", b'{"ietf-voucher-request:voucher":{"serial-number":"SN-1"}}'
    yield (
        "voucher-request",
        "lenient-nonce",
        b'{"ietf-voucher-request:voucher":{"serial-number":"SN-1","nonce":"_-8BAgMEBQY",'
        b'"created-on":"2021-04-13T17:43:23.747-04:00","assertion":"proximity"}}',
    )
    voucher = encode_voucher(voucher_for(request, bench.DOMAIN))
    yield "voucher", "document", voucher
    yield (
        "voucher",
        "message",
        CMS.sign(voucher, bench.MASA.signer, certificates=bench.MASA.chain[:1]),
    )
    yield (
        "voucher",
        "nonceless",
        b'{"ietf-voucher:voucher":{"serial-number":"SN-0001","assertion":"logged","expires-on":'
        b'"2026-01-01T00:00:00Z","last-renewal-date":"2025-12-01T00:00:00Z",'
        b'"domain-cert-revocation-checks":false,"idevid-issuer":"BBgwFoAUAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}',
    )
    yield (
        "voucher-request",
        "extensions",
        b'{"ietf-voucher-request:voucher":{"serial-number":"SN-1","extensions":["a-module"],'
        b'"extension:a-module":{"a":[1]},"est-domain":"https://est.example.com/",'
        b'"proximity-registrar-pubk-sha256":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}',
    )
    yield (
        "voucher-request",
        "extension-name-of-two-lines",
        b'{"ietf-voucher-request:voucher":{"serial-number":"SN-1","extension:a\\nb":1}}',
    )
    digest = hashlib.sha256(
        b'{"ietf-voucher-request:voucher":{"serial-number":"SN-0001"}}'
    ).digest()
    yield "signed-attributes", "two", signed_data.encode_attributes(digest, None)
    yield "signed-attributes", "three", signed_data.encode_attributes(digest, bench.CREATED)
    yield "signed-attributes", "generalized-time", signed_data.encode_attributes(digest, pki.NEVER)
    event = AuditEvent(
        date=bench.CREATED, domain_id=bytes(20), nonce=NONCE, assertion=Assertion.PROXIMITY
    )
    log = AuditLog(events=(event,), truncation=Truncation(arbitrary=3))
    yield "audit-log", "one", encode_audit_log(log)
    yield (
        "audit-log",
        "strings",
        b'{"version":"1","events":[{"date":"2019-08-14T10:31:00.5+02:00","domainID":"AAECAwQFBgc=",'
        b'"nonce":null,"assertion":"verified","truncated":"2"}],'
        b'"truncation":{"nonced duplicates":"1","nonceless duplicates":0,"arbitrary":1024}}',
    )
    yield "telemetry", "success", encode_status(Status(status=True))
    yield (
        "telemetry",
        "failure",
        encode_status(Status(status=False, reason="no", reason_context={"a": [1, {"b": None}]})),
    )
    yield "json", "kinds", b'{"a":[1,-2.5e3,true,false,null,"\\u00e4\\ud83d\\ude00"],"b":{}}'


def _capable_of(*oids: str) -> bytes:
    listed = (der.encode(der.SEQUENCE, der.encode_oid(oid)) for oid in oids)
    return der.encode(der.SEQUENCE, *listed)


def _enrollment() -> Iterator[tuple[str, str, bytes]]:
    signer = bench.DEVICE.signer
    subject = names.ldevid_subject("SN-0001", _ISSUER)
    name = x509.SubjectAlternativeName([x509.DNSName("sn-0001.example.com")])
    csr = build_csr(signer, subject, extensions=[name], challenge_password="AAEC")
    yield "csr", "with-names", csr
    yield "csr", "contents", bench.first_child(csr)
    yield "csr", "bare", bench.first_child(build_csr(signer, subject))
    change = ChangeSubjectName(subject=subject.public_bytes(), alternative_name=name.public_bytes())
    wish = (
        (ID_CMC_CHANGE_SUBJECT_NAME, encode_change_subject_name(change)),
        (ID_AA_ASYMM_DECRYPT_KEY_ID, der.encode(der.OCTET_STRING, bytes(20))),
        (ID_SMIME_CAPABILITIES, _capable_of(AES256_GCM, AES128_CBC)),
    )
    attributes = [est.attribute(oid, value) for oid, value in wish]
    asking = est.raw_csr(bench.DEVICE.private_key, attributes=sorted(attributes))
    yield "csr", "another-name", asking
    yield "key-request", "encrypted", asking
    yield "key-request", "plain", csr
    yield (
        "csrattrs",
        "both-forms",
        encode_csr_attributes(
            CSRRequirements(keys=(P256,), extension_oids=("2.5.29.17",)), Announcement.BOTH
        ),
    )
    wanted = CSRRequirements(
        keys=(P256,),
        subject=(SubjectRequirement(oid="2.5.4.5"),),
        extension_oids=("2.5.29.17",),
        signature_algorithms=("1.2.840.10045.4.3.2",),
        challenge_password=True,
    )
    yield "csrattrs", "list", encode_csr_attributes(wanted)
    yield "csrattrs", "none", b"\x30\x00"
    yield "csrattrs", "template", _template()
    yield "certs-only", "one", encode_certs_only([bench.DOMAIN.certificate])
    yield "certs-only", "two", encode_certs_only([bench.ROOT.certificate, bench.DOMAIN.certificate])
    yield "est-body", "line", encode_base64(b"\x30\x03\x02\x01\x00")
    yield "est-body", "wrapped", encode_base64(bytes(range(60)), "wrap")
    text = base64.b64encode(b"\x30\x03\x02\x01\x00").decode()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
    yield "est-body", "pem", pem.encode()
    yield "client-chain", "carried", b"".join(map(certificate_der, bench.DEVICE.chain[:-1]))
    yield (
        "client-chain",
        "asserted",
        certificate_der(
            assertion_certificate(
                signer, "SN-0001", idevid_issuer=_ISSUER, masa_url="masa.example.com"
            )
        ),
    )
    yield "certificate", "idevid", bench.first_child(_DEVICE)
    yield "certificate", "ca", bench.first_child(certificate_der(bench.ISSUING.certificate))
    yield (
        "certificate",
        "registrar",
        bench.first_child(certificate_der(bench.REGISTRAR.certificate)),
    )
    yield "certificate", "many-extensions", bench.first_child(_of_many_extensions())
    yield "idevid-issuer", "26", extensions.encode_idevid_issuer(bytes(range(20)))
    yield "idevid-issuer", "24", extensions.encode_idevid_issuer(bytes(range(20)))[2:]
    yield "idevid-issuer", "20", bytes(range(20))
    yield "pem", "two", bench.DEVICE.chain_pem


def _template() -> bytes:
    """A CertificationRequestInfoTemplate that leaves the serial number to the client."""
    part = der.encode(der.SEQUENCE, der.encode_oid("2.5.4.5"))
    subject = der.encode(der.SEQUENCE, der.encode(der.SET, part))
    algorithm = (der.encode_oid("1.2.840.10045.2.1"), der.encode_oid("1.2.840.10045.3.1.7"))
    key = der.encode(0xA0, der.encode(der.SEQUENCE, *algorithm))
    extension = der.encode(der.SEQUENCE, der.encode_oid("2.5.29.17"))
    wanted = Attribute(
        oid="1.2.840.113549.1.9.16.2.62", values=(der.encode(der.SEQUENCE, extension),)
    )
    attributes = der.encode(0xA1, encode_attribute(wanted))
    template = der.encode(der.SEQUENCE, der.encode_integer(0), subject, key, attributes)
    listed = Attribute(oid="1.2.840.113549.1.9.16.2.61", values=(template,))
    return der.encode(der.SEQUENCE, encode_attribute(listed))


def _of_many_extensions() -> bytes:
    hardware = extensions.hardware_module_name("1.3.6.1.4.1.32473.7", b"SN-0001")
    policy = x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"), None)
    points = x509.DistributionPoint(
        [x509.UniformResourceIdentifier("http://crl.example.com/a.crl")], None, None, None
    )
    access = x509.AccessDescription(
        x509.ObjectIdentifier("1.3.6.1.5.5.7.48.1"),
        x509.UniformResourceIdentifier("http://ocsp.example.com"),
    )
    extra = (
        x509.SubjectAlternativeName([hardware, x509.DNSName("a.example")]),
        x509.CertificatePolicies([policy]),
        x509.CRLDistributionPoints([points]),
        x509.AuthorityInformationAccess([access]),
        x509.InhibitAnyPolicy(1),
        x509.PolicyConstraints(1, None),
        x509.NameConstraints([x509.DNSName("example")], None),
        x509.TLSFeature([x509.TLSFeatureType.status_request]),
    )
    made = pki.make_idevid(
        bench.ISSUING,
        key=bench.DEVICE.private_key,
        ekus=("1.3.6.1.5.5.7.3.2",),
        extra=[(value, False) for value in extra],
    )
    return certificate_der(made.certificate)


def _record() -> DeviceRecord:
    return DeviceRecord(
        idevid_issuer=_ISSUER,
        serial_number="SN-0001",
        certificate=_DEVICE,
        spki=spki_of(bench.DEVICE.certificate),
        intermediates=(certificate_der(bench.ISSUING.certificate),),
        presentation=Presentation.ASSERTED,
        derivation_profile="hmac-drbg-p256",
        batch_digest=bytes(32),
        chunk=0,
        generation=1,
    )


def _files() -> Iterator[tuple[str, str, bytes]]:
    for name, file in (("bundle", _bundle()), ("manifest", _manifest()), ("build-list", _build())):
        yield name, "file", file
        yield name, "inside", bench.parts_of(file)
    yield "seed-batch", "inside", bench.joined(*_batch_parts())
    lines, sealed = _cms_parts()
    yield "cms-batch", "file", sign_cms(lines, bench.CMS_VENDOR) + sealed
    yield "cms-batch", "inside", bench.joined(lines, sealed)
    yield "device-record", "one", encode_records([_record()])
    yield "cbor", "kinds", cbor.encode({1: [-1, b"ab", "ä", True, None], "a": {}, "b": 2**63})
    yield "der", "certificate", _DEVICE
    yield "der", "kinds", bytes.fromhex("301a0101ff0201800303020780040161050006032a0304a0030a0101")


def _tools() -> Iterator[tuple[str, str, bytes]]:
    """What a person may hold: some of the above, and one of them in armor."""
    shown = {
        *("voucher-request/carried", "voucher/document", "csr/with-names", "csrattrs/template"),
        *("certs-only/two", "audit-log/strings", "telemetry/failure", "pem/two"),
        *("bundle/file", "cms-batch/file"),
    }
    for target, name, octets in (*_messages(), *_enrollment(), *_files()):
        if f"{target}/{name}" in shown:
            yield "inspect", target, octets
        if (target, name) == ("voucher-request", "asserted"):
            yield "inspect", "base64", base64.encodebytes(octets)
    yield "inspect", "cose", _cose()


def _cose() -> bytes:
    issuer = extensions.encode_idevid_issuer(_ISSUER)
    leaves: dict[int | str, cbor.Encodable] = {1: 2, 5: issuer, 7: bytes(8), 13: "SN-0001"}
    protected, payload = cbor.encode({1: -7}), cbor.encode({2501: leaves})
    signed: list[cbor.Encodable] = [protected, {32: [_DEVICE]}, payload, bytes(64)]
    return b"\xd2" + cbor.encode(signed)


def _bundle() -> bytes:
    origin = BundleOrigin(
        factory_id="signer-1",
        batch_digest=bytes(32),
        build_list_digest=bytes(range(32)),
        generation=1,
        created_at=bench.CREATED,
        product="Example 1000",
        derivation_profile="hmac-drbg-p256",
        issuing_chain=tuple(map(certificate_der, bench.ISSUING.chain)),
    )
    writer = BundleWriter(io.BytesIO(), origin)
    before = Revocation(
        idevid_issuer=_ISSUER, serial_number="SN-0000", certificate_sha256=bytes(32)
    )
    writer.add(
        CertifiedDevice(
            serial_number="SN-0001",
            presentation=Presentation.CARRIED,
            certificate=_DEVICE,
            chunk=0,
            replaces=(before,),
        )
    )
    out = io.BytesIO()
    writer.finish(out, bench.FILE_SIGNER)
    return out.getvalue()


def _manifest() -> bytes:
    terms = ManifestTerms(
        signer_id="signer-1",
        owner=bench.OWNER,
        order="order 7",
        created_at=bench.CREATED,
        expires_at=bench.CREATED + timedelta(days=90),
        generation=1,
    )
    out = io.BytesIO()
    write_manifest(out, io.BytesIO(), [_record()], terms, bench.FILE_SIGNER)
    return out.getvalue()


def _build() -> bytes:
    writer = BuildListWriter(io.BytesIO())
    for number, presentation in enumerate(Presentation):
        writer.add(
            BuildEntry(
                chip_id=b"CHIP-%d" % number,
                serial_number=f"SN-000{number}",
                presentation=presentation,
            )
        )
    out = io.BytesIO()
    writer.finish(
        out,
        signer_id="signer-1",
        created_at=bench.CREATED,
        product="Example 1000",
        generation=1,
        signer=bench.FILE_SIGNER,
    )
    return out.getvalue()


def _batch_header(**altered: object) -> batch.BatchHeader:
    facts: dict[str, object] = {
        "vendor_id": "signer-1",
        "vendor_key": bench.FILE_SIGNER.public_key,
        "product": "Example 1000",
        "batch_id": "2025/0042",
        "sequence": 1,
        "predecessor": None,
        "derivation_profile": "hmac-drbg-p256",
        "record_count": 2,
        "created_at": bench.CREATED,
        "recipient": bench.RECIPIENT.public_key,
    }
    return batch.build_header(**(facts | altered))  # type: ignore[arg-type]


def _batch_parts() -> tuple[bytes, bytes]:
    records = [[b"CHIP-%d" % n, hashlib.sha512(b"seed %d" % n).digest()] for n in range(2)]
    return batch.encode_header(_batch_header()), cbor.encode(records)


class _ZeroRecipient:
    key_id = bytes(32)


def _cms_parts() -> tuple[bytes, bytes]:
    """Lines that are in order; the chunk behind them opens with no key."""
    sealed = der.encode(der.SEQUENCE, bytes(512))
    header = _batch_header(vendor_key=bench.CMS_VENDOR.public_key, recipient=_ZeroRecipient())
    digest = hashlib.sha256(sealed).digest()
    return encode_manifest_lines(encode_header_lines(header), [digest]), sealed


def main() -> None:
    """Write every seed that is not there, or is another."""
    for generate in (_messages, _enrollment, _files, _tools):
        for target, name, octets in generate():
            path = CORPUS / target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(octets)


if __name__ == "__main__":
    main()
