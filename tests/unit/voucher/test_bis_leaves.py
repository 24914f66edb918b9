"""What draft-ietf-anima-rfc8366bis adds to the documents: read into the model, with its types."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import Malformed
from brski.voucher.model import Extension, Voucher, VoucherRequest
from brski.voucher.yang_json import (
    decode_voucher,
    decode_voucher_request,
    encode_voucher,
    encode_voucher_request,
)
from brski.voucher.yang_types import NAME_LIMIT, URI_LIMIT, encode_binary
from tests.kit.voucher import CREATED_ON

REQUEST_TOP = "ietf-voucher-request:voucher"
VOUCHER_TOP = "ietf-voucher:voucher"
SPKI = b"\x30\x03\x02\x01\x00"
HASH = bytes(range(32))

SHARED: dict[str, Any] = {
    "est-domain": "https://est.example.com/",
    "additional-configuration-url": "https://example.com/phones/?model=7#top",
    "manufacturer-proprietary": "eyJjb2xvdXIiOiJyZWQifQ",
}
REQUESTS_OWN: dict[str, Any] = {
    "proximity-registrar-cert": encode_binary(b"certificate"),
    "proximity-registrar-pubk": encode_binary(SPKI),
    "proximity-registrar-pubk-sha256": encode_binary(HASH),
    "agent-provided-proximity-registrar-cert": encode_binary(b"agent saw"),
    "agent-sign-cert": encode_binary(b"agent"),
    "agent-signed-data": encode_binary(b"signed"),
    "prior-signed-voucher-request": encode_binary(b"prior"),
}
VOUCHERS_OWN: dict[str, Any] = {
    "pinned-domain-cert": encode_binary(b"certificate"),
    "pinned-domain-pubk": encode_binary(SPKI),
    "pinned-domain-pubk-sha256": encode_binary(HASH),
}


def request_with(**leaves: Any) -> VoucherRequest:
    """Decoded from a serial number and *leaves*."""
    return decode_voucher_request(_document(REQUEST_TOP, leaves))


def voucher_with(**leaves: Any) -> Voucher:
    """Decoded from a serial number and *leaves*."""
    return decode_voucher(_document(VOUCHER_TOP, leaves))


def _document(top: str, leaves: dict[str, Any]) -> bytes:
    return json.dumps({top: {"serial-number": "SN-0001"} | leaves}).encode()


@pytest.mark.requirement("VR-16", "VR-5")
def test_every_new_leaf_of_a_request_is_read_and_written() -> None:
    """Keys and hashes as octets, URIs as text, what is the manufacturer's own as it came."""
    request = request_with(**SHARED, **REQUESTS_OWN)
    assert request == VoucherRequest(
        serial_number="SN-0001",
        est_domain="https://est.example.com/",
        additional_configuration_url="https://example.com/phones/?model=7#top",
        manufacturer_proprietary="eyJjb2xvdXIiOiJyZWQifQ",
        prior_signed_voucher_request=b"prior",
        proximity_registrar_cert=b"certificate",
        proximity_registrar_pubk=SPKI,
        proximity_registrar_pubk_sha256=HASH,
        agent_provided_proximity_registrar_cert=b"agent saw",
        agent_sign_cert=b"agent",
        agent_signed_data=b"signed",
    )
    written = json.loads(encode_voucher_request(request))[REQUEST_TOP]
    assert written == {"serial-number": "SN-0001"} | SHARED | REQUESTS_OWN


@pytest.mark.requirement("VR-16", "VR-6")
def test_every_new_leaf_of_a_voucher_is_read_and_written() -> None:
    """Beside the four that RFC 8366 wants of a writer."""
    voucher = voucher_with(**SHARED, **VOUCHERS_OWN)
    assert voucher == Voucher(
        serial_number="SN-0001",
        est_domain="https://est.example.com/",
        additional_configuration_url="https://example.com/phones/?model=7#top",
        manufacturer_proprietary="eyJjb2xvdXIiOiJyZWQifQ",
        pinned_domain_cert=b"certificate",
        pinned_domain_pubk=SPKI,
        pinned_domain_pubk_sha256=HASH,
    )
    assertion = voucher_with(assertion="logged").assertion
    complete = replace(voucher, created_on=CREATED_ON, assertion=assertion)
    assert decode_voucher(encode_voucher(complete)) == complete


@pytest.mark.requirement("VR-16")
@pytest.mark.parametrize("top", ["request", "voucher"])
def test_the_model_has_every_leaf_of_the_published_modules(vectors: Path, top: str) -> None:
    """The .sid files of the draft list them; those that a request has to ignore are missing."""
    suffix = "-request" if top == "request" else ""
    (path,) = (vectors / "sid-yang-cddl").glob(f"ietf-voucher{suffix}@*.sid")
    sid_file = json.loads(path.read_bytes())
    items = next(iter(sid_file.values()))["item"] if "item" not in sid_file else sid_file["item"]
    leaves = {item["identifier"].rpartition("/")[2] for item in items if "/" in item["identifier"]}
    leaves = {leaf for leaf in leaves if ":" not in leaf}
    model = VoucherRequest if top == "request" else Voucher
    ours = {name.replace("_", "-") for name in model(serial_number="SN").__dataclass_fields__}
    ignored = {
        "pinned-domain-cert",
        "pinned-domain-pubk",
        "pinned-domain-pubk-sha256",
        "domain-cert-revocation-checks",
        "last-renewal-date",
    }
    assert ours == (leaves - ignored if top == "request" else leaves)


@pytest.mark.requirement("VR-16")
@pytest.mark.parametrize("leaf", [*SHARED, *REQUESTS_OWN])
@pytest.mark.parametrize("value", [None, True, 7, 1.5, [], {}, ["AAEC"]])
def test_a_new_leaf_of_another_type_is_refused(leaf: str, value: object) -> None:
    """A string is a string; the error names the leaf."""
    with pytest.raises(Malformed, match=leaf):
        request_with(**{leaf: value})


@pytest.mark.requirement("VR-16", "VR-2")
@pytest.mark.parametrize("leaf", REQUESTS_OWN)
def test_new_binary_leaves_are_strict_base64(leaf: str) -> None:
    """The URL alphabet and missing padding are not taken, as for the old leaves."""
    octets = b"\xfb\xff" * 16
    request_with(**{leaf: encode_binary(octets)})
    for spelling in (encode_binary(octets).rstrip("="), "-_-_" * 11, "AA==\n"):
        with pytest.raises(Malformed, match=leaf):
            request_with(**{leaf: spelling})


@pytest.mark.requirement("VR-16")
@pytest.mark.parametrize("octets", [0, 20, 31, 33, 64])
def test_a_key_hash_has_32_octets(octets: int) -> None:
    """In both documents."""
    request_with(**{"proximity-registrar-pubk-sha256": encode_binary(bytes(32))})
    voucher_with(**{"pinned-domain-pubk-sha256": encode_binary(bytes(32))})
    for read, leaf in (
        (request_with, "proximity-registrar-pubk-sha256"),
        (voucher_with, "pinned-domain-pubk-sha256"),
    ):
        with pytest.raises(Malformed, match=f"{leaf}: SHA-256 of {octets} octets"):
            read(**{leaf: encode_binary(bytes(octets))})


@pytest.mark.requirement("VR-16")
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "https://example.com/a b",
        "https://ex\u00e4mple.com/",
        "%",
        "%4",
        "a\n",
        "<a>",
        "h" * (URI_LIMIT + 1),
    ],
)
@pytest.mark.parametrize("leaf", ["est-domain", "additional-configuration-url"])
def test_a_uri_is_made_of_what_uris_are_made_of(leaf: str, text: str) -> None:
    """No blanks, no controls, no letters of other scripts, no stray percent sign."""
    for good in ("https://[2001:db8::1]:8443/a;b=1?c=%20#d", "est.example.com", "h" * URI_LIMIT):
        field = leaf.replace("-", "_")
        assert getattr(voucher_with(**{leaf: good}), field) == good
    with pytest.raises(Malformed, match=leaf):
        voucher_with(**{leaf: text})


# -- extensions ------------------------------------------------------------------------------------


@pytest.mark.requirement("VR-17")
def test_the_drafts_example_of_an_extension() -> None:
    """Listed by its module's name, its content under "extension:" and that name."""
    content = {"my-ext-leaf1": "my-ext-leaf1-data"}
    voucher = voucher_with(
        **{"extensions": ["example-my-extension"], "extension:example-my-extension": content}
    )
    (extension,) = voucher.extensions
    assert extension.name == "example-my-extension"
    assert extension.content is not None
    assert json.loads(extension.content) == content


@pytest.mark.requirement("VR-17")
def test_content_that_is_not_listed_is_refused() -> None:
    """Listed without content is read: a name alone can mean something."""
    assert voucher_with(extensions=["one", "fuubar.example.com"]).extensions == (
        Extension(name="one"),
        Extension(name="fuubar.example.com"),
    )
    for listed in ([], ["other"], ["ON"]):
        with pytest.raises(Malformed, match="'one' is not listed"):
            voucher_with(**{"extensions": listed, "extension:one": {}})
    with pytest.raises(Malformed, match="not listed"):
        request_with(**{"extension:one": {}})


@pytest.mark.requirement("VR-17")
@pytest.mark.parametrize(
    "names",
    [
        "one",
        {"one": 1},
        None,
        [7],
        [None],
        [["one"]],
        [""],
        ["one", "one"],
        ["1one"],
        ["a b"],
        ["a:b"],
        ["x" * (NAME_LIMIT + 1)],
    ],
)
def test_extensions_is_a_list_of_names(names: object) -> None:
    """Module names, each once; numbers are for CBOR."""
    voucher_with(extensions=["x" * NAME_LIMIT, "_a.b-c9"])
    with pytest.raises(Malformed, match="extensions"):
        voucher_with(extensions=names)


@pytest.mark.requirement("VR-17")
@pytest.mark.parametrize("content", [None, True, 7, "text", [], [{}]])
def test_an_extensions_content_is_an_object(content: object) -> None:
    """A module's data is a map of its leaves."""
    voucher_with(**{"extensions": ["one"], "extension:one": {}})
    with pytest.raises(Malformed, match="extension:one"):
        voucher_with(**{"extensions": ["one"], "extension:one": content})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@pytest.mark.requirement("VR-16", "VR-17")
@given(st.dictionaries(NAMES, st.none() | st.dictionaries(st.text(max_size=4), JSON), max_size=3))
def test_extensions_read_back_as_they_were_written(contents: dict[str, Any]) -> None:
    """Any names, with any content or none, in a request and in a voucher."""
    leaves: dict[str, Any] = {"extensions": list(contents)}
    leaves |= {f"extension:{name}": value for name, value in contents.items() if value is not None}
    request = request_with(**leaves)
    assert [extension.name for extension in request.extensions] == list(contents)
    for extension in request.extensions:
        content = None if extension.content is None else json.loads(extension.content)
        assert content == contents[extension.name]
    assert decode_voucher_request(encode_voucher_request(request)) == request
    assert voucher_with(**leaves).extensions == request.extensions


@pytest.mark.requirement("SEC-10")
def test_a_name_from_the_message_is_escaped_in_the_reason() -> None:
    """A member name with a line break writes no second line into a log."""
    body = {"serial-number": "SN-1", "extension:a\nb": 1}
    with pytest.raises(Malformed) as refused:
        decode_voucher_request(json.dumps({REQUEST_TOP: body}).encode())
    assert refused.value.reason.isprintable()
