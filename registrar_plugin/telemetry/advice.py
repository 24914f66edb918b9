"""What a person can do about a refusal, by the error's code."""

from __future__ import annotations

from typing import Final

_PEER = "the sender's software breaks a rule of its protocol: compare its version and settings"
_OURS = "a setting or file of this host: the registrar's log of that time tells which"
_OEM = "an affair of the manufacturer's factory, which no registrar meets"

ADVICE: Final[dict[str, str]] = {
    "peer-error": _PEER,
    "malformed": "the message is not what it must be: brski-lab inspect shows what is odd in it",
    "unknown-format": "the device speaks a voucher format, version or algorithm that is not "
    "spoken here: look for a newer release of either side",
    "not-acceptable": "the device accepts no answer of a type that is there: see its Accept header",
    "too-large": "the message is longer than any honest one: look at what the device sends",
    "signature-invalid": "the request was not signed with the key of its TLS connection: a proxy "
    "in between, a damaged message, or somebody else's request",
    "chain-invalid": "its IDevID leads to no anchor of [[manufacturer]], or is out of its dates: "
    "add the manufacturer's root to anchors, or set ignore_idevid_expiry for this manufacturer",
    "certificate-revoked": "a certificate of the chain is on its issuer's revocation list: ask "
    "whoever runs that CA why",
    "revocation-unknown": "whether a certificate is revoked must be known, and no list that is "
    "good now could be had: see that the CA publishes one, and that it can be fetched",
    "key-not-allowed": "the device's key is of a kind that is not accepted; it cannot be admitted",
    "key-mismatch": "the key is not the one that the manufacturer has on record: a device with "
    "another's serial number, a replaced chip, or a record that is out of date. Ask the "
    "manufacturer for the device's certificate; bring its newest manifest or bundle in",
    "certificate-mismatch": "the manufacturer's own CA has signed another certificate for this "
    "device than the one on record: tell the manufacturer, and keep the device off",
    "serial-number-mismatch": "two serial numbers that must be one differ: see found and wanted. "
    "If the manufacturer writes it elsewhere, set serial_number_source or serial_number_part",
    "nonce-mismatch": "the exchange answers another request, or has no nonce: let the device "
    "start anew; if it stays, something in between replays messages",
    "idevid-issuer-mismatch": "the issuer is not the one that its name says: list the identifier "
    "under issuers of the manufacturer if it says so, else another's name is being used",
    "proximity-mismatch": "the device has seen another registrar's certificate than ours: "
    "something between the two ends TLS, or the device was led to another registrar",
    "voucher-expired": "fetch the voucher anew; compare the clocks of the MASA and this host",
    "created-on-out-of-window": "compare the clocks of the device and this host",
    "pin-mismatch": "the voucher pins another domain: the manufacturer has another owner on "
    "record, or this registrar's chain in [registrar] was changed",
    "csr-mismatch": "the certificate request asks for another name, key or extension than the "
    "device is entitled to: see docs/est.md, and what csrattrs says",
    "not-authenticated": "no client certificate, or one of no onboarding that is known here: the "
    "device has to begin with a voucher-request, over its IDevID. Of an EST client that is no "
    "device the reason says what of its certificate does not count",
    "password-needed": "the client named no account, or its password is wrong: brski-registrar "
    "est-password list and set",
    "wrong-order": "a step came too early, or after the device had begun anew: let it start over",
    "unexpected-response": "the MASA, or another server, answered against its protocol: see the "
    "reason, and ask who runs it",
    "slow-peer": "the message did not come whole in time: look at the link to the device",
    "handshake-failed": "no TLS came about: compare versions and certificates of the two sides",
    "refused": "policy says no: see the reason",
    "address-not-allowed": "the MASA's name leads into a network that is not asked by default: if "
    "that is meant, list its host:port in hosts of [manufacturer.masa]",
    "pledge-not-expected": "nobody announced the device, or a person denied it: brski-registrar "
    "approve lets it in where approval is manual",
    "device-unknown": "the manufacturer has no record of it: bring in its newest manifest or "
    "bundle, see [manufacturer.source], and that serial_pattern fits its numbers",
    "device-revoked": "the manufacturer has revoked or flagged the device: ask it why",
    "device-ambiguous": "two manufacturers have certified one key: keep the device off, and ask "
    "both; remove from [[manufacturer]] the one that should not have",
    "prior-request-refused": "the MASA does not accept the device's own request: see its reason",
    "domain-not-trusted": "the MASA does not know this owner: tell the manufacturer your CA, and "
    "see client_key and user of [manufacturer.masa]",
    "assertion-not-acceptable": "the voucher's assertion is weaker than the device accepts: ask "
    "the manufacturer to record the sale",
    "audit-log-unacceptable": "find out from whom the device comes; if its history is in order, "
    "write so in [audit_log] (docs/audit-log.md has a switch for each rule) and reset the device",
    "voucher-refused": "the MASA refuses the voucher: its reason says why; ask the manufacturer",
    "not-known-to-masa": "the MASA does not know the device: ask the manufacturer; see url of "
    "[manufacturer.masa] if another MASA is responsible",
    "not-issuable-by-masa": "the MASA makes no voucher of the type that the device asked for",
    "not-understood-by-masa": "the MASA does not read this type of request: it may be an older one",
    "voucher-rejected": "the device does not accept its voucher: its anchors are not those of this "
    "MASA, its clock is wrong, or its policy wants a nonce or an assertion; see its own log",
    "ldevid-revoked": "a person has withdrawn the device's certificate (brski-registrar journal "
    "tells who): if that is over, let the device begin anew",
    "not-offered": "no [[est.profile]] of this registrar allows that EST operation",
    "not-signed-here": _OURS,
    "batch-refused": _OEM,
    "bundle-refused": _OEM,
    "manifest-refused": "ask the manufacturer for a manifest of today",
    "medium-refused": _OEM,
    "too-many-requests": "too many at once: raise the limits in [look_ups] or [approval], or wait",
    "unavailable": "the MASA, the manufacturer's service, the CA or the disk did not answer: the "
    "reason names it. The device tries again by itself",
    "local-error": _OURS,
    "settings-error": "brski-registrar check tells every fault of the settings",
    "key-unusable": "a private key of this host: brski-registrar check tells which",
    "certificate-unsound": "the CA was about to sign a certificate that breaks the rules of its "
    "profile: see the reason, and the settings of [ca]",
    "credentials-refused": "the MASA does not take this registrar for one that may ask: see "
    "client_key, client_chain and user of [manufacturer.masa]",
    "derivation-refused": _OURS,
    "file-unusable": _OURS,
    "state-error": "a database of this host is damaged or of another version: keep a copy, and "
    "restore the last good one",
    "wrong-context": "a host has mounted the plugin on a listener of its own TLS: docs/plugin.md",
    # codes of alarms that are no errors
    "second-use": "two parties seem to hold the device's key. Was it reset, or its board "
    "exchanged? If not, have the manufacturer mark it, and revoke its certificate",
    "newer-report": "the device is newer than this registrar: look for a newer release",
}
"""For every code of :mod:`brski.errors`, and for those of alarms."""


def advice_on(code: str) -> str:
    """What can be done about *code*; empty when nobody knows it."""
    return ADVICE.get(code, "")
