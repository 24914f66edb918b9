"""The kinds of artifacts that can be shown, in the order in which they are tried."""

from __future__ import annotations

from typing import Final

from brski_lab.inspecting import (
    audit_log,
    build_list,
    bundle,
    certificate,
    certs_only,
    cms_message,
    cose_message,
    csr,
    csr_attributes,
    jws_message,
    owner_manifest,
    seed_batch,
    status_report,
    voucher_document,
)
from brski_lab.inspecting.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (
    bundle.KIND,
    build_list.KIND,
    owner_manifest.KIND,
    *seed_batch.KINDS,
    certs_only.KIND,
    cms_message.KIND,
    certificate.KIND,
    csr.KIND,
    csr_attributes.KIND,  # the shape with the least to it: after all other DER
    *voucher_document.KINDS,
    jws_message.KIND,
    *cose_message.KINDS,
    audit_log.KIND,
    status_report.KIND,
)
