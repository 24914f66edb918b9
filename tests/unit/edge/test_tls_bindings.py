"""The TLS engine: channel bindings, equal at both ends."""

from __future__ import annotations

import ssl

import pytest

from tests.kit import pki, tls
from tests.unit.edge.tls_ends import (
    CLIENTS,
    both_versions,
    client,
    domain,
    registrar,
    server,
    stdlib_client,
)

__all__ = ["domain", "registrar"]


@pytest.mark.requirement("ESTS-20")
@both_versions
def test_channel_binding_is_the_same_at_both_ends_and_new_each_time(
    registrar: pki.Entity, version: str
) -> None:
    """tls-unique on 1.2, the exporter on 1.3."""
    first, second = (
        tls.connect_in_memory(client(CLIENTS["oem-chain"]), server(registrar, version))
        for _ in range(2)
    )
    binding = first.client.channel_binding()
    assert binding == first.server.channel_binding() != second.server.channel_binding()
    assert len(binding) == (12 if version == "TLSv1.2" else 32)
    exported = first.client.get_channel_binding("tls-exporter")
    assert exported == first.server.get_channel_binding("tls-exporter")
    assert len(exported) == 32
    if version == "TLSv1.3":
        assert first.client.get_channel_binding("tls-unique") is None
        assert first.server.get_channel_binding() is None


@pytest.mark.requirement("ESTS-20")
def test_tls_unique_is_what_the_standard_library_says(registrar: pki.Entity) -> None:
    """An independent reading of "the first Finished message"."""
    context = stdlib_client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    ends = tls.connect_in_memory(context, server(registrar))
    assert ends.client.get_channel_binding("tls-unique") == ends.server.channel_binding()


def test_other_channel_binding_is_a_fault_of_the_caller(registrar: pki.Entity) -> None:
    """As the standard library has it."""
    ends = tls.connect_in_memory(client(), server(registrar))
    with pytest.raises(ValueError, match="tls-server-end-point"):
        ends.server.get_channel_binding("tls-server-end-point")
