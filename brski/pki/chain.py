"""Does this certificate lead to an anchor that we trust?

Candidate paths are found by names and key identifiers, a bounded number of them, and each is then
judged whole: by the verifier of ``cryptography`` with a policy for devices (IDevIDs have neither
DNS names nor usages), or by :mod:`brski.pki.walk` where that verifier cannot (under Ed25519 CAs,
for a leaf whose expiry does not count, for a pledge without a clock) or would try more signatures
than the path has. Both refuse the same things; the tests run every case through both.

Knows no revocation: who asks for it does so on the chain returned. RFC 5280 §6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice, pairwise
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from brski import registry
from brski.errors import ChainInvalid, KeyNotAllowed, Malformed, PinMismatch
from brski.pki import effort
from brski.pki.extensions import authority_key_identifier, subject_key_identifier
from brski.pki.keys import public_key_of_certificate, spki_of
from brski.pki.known_paths import WhileValid
from brski.pki.signer import PublicKey
from brski.pki.walk import (
    Path,
    called,
    check_algorithms,
    check_form,
    check_issued,
    is_known,
    walk,
)

INTERMEDIATES_LIMIT: Final = 6  # certificates between leaf and anchor
POOL_LIMIT: Final = 16  # certificates from which a path may be made
_PATHS_LIMIT: Final = (
    4  # candidate paths that are judged; each costs a signature verification per certificate
)
_STEPS_LIMIT: Final = 64  # certificates looked at while searching for them
_SECTION: Final = "RFC 5280 §6.1"


class TrustAnchors:
    """Certificates that are trusted as they are, and the way up to them.

    Args:
        anchors: CAs, roots or below a root; at least one.
        allow_end_entity_anchor: an anchor is also trusted as a leaf: a certificate that equals it
            octet for octet is valid, as where a pledge's voucher anchor is the MASA's signing
            certificate itself.

    Raises:
        ChainInvalid: no anchor.
        KeyNotAllowed: an anchor's key is not of an accepted kind; a setting of ours, so told apart.

    RFC 5280 §6.1.1 (d).
    """

    __slots__ = (
        "_allow_end_entity_anchor",
        "_anchors",
        "_by_subject",
        "_issuers",
        "_known",
        "_policies",
    )

    def __init__(
        self, anchors: Sequence[x509.Certificate], *, allow_end_entity_anchor: bool = False
    ) -> None:
        if not anchors:
            raise ChainInvalid("no trust anchor")
        self._anchors = tuple(dict.fromkeys(anchors))
        self._allow_end_entity_anchor = allow_end_entity_anchor
        self._known: WhileValid[tuple[x509.Certificate, Path, bool], Path] = WhileValid()
        # the policy that trusts the first certificate of a path, for what it issues, since the
        # path above was judged
        self._issuers: WhileValid[Path, PolicyBuilder] = WhileValid()
        self._by_subject: dict[x509.Name, list[x509.Certificate]] = {}
        # the verifier's policy for paths up to this anchor; None where only the own walk can judge
        self._policies: dict[x509.Certificate, PolicyBuilder | None] = {}
        for anchor in self._anchors:
            walked = _is_ed25519(public_key_of_certificate(anchor))
            self._by_subject.setdefault(anchor.subject, []).append(anchor)
            self._policies[anchor] = None if walked else _device_policy(anchor)

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        """As given, each once."""
        return self._anchors

    def validate(
        self,
        leaf: x509.Certificate,
        intermediates: Sequence[x509.Certificate],
        *,
        at: datetime,
        ignore_leaf_expiry: bool = False,
    ) -> tuple[x509.Certificate, ...]:
        """Find a path from *leaf* to an anchor that holds at that time.

        A path that held before holds again while none of its dates is passed, and so does the part
        of it above a leaf: no signature is verified a second time (:mod:`brski.pki.known_paths`).

        Signatures, names, validity, BasicConstraints, path lengths, keyCertSign, kinds of keys and
        signatures are checked on every certificate of it, and that no critical extension is
        unknown and nothing narrows what stands below. Extended key usages and host names are the
        caller's.

        Args:
            leaf: whose key proved something; judged, not trusted.
            intermediates: as received, in any order, with others among them; at most 16.
            at: aware; the time at which all of the path must be valid, anchor included.
            ignore_leaf_expiry: the leaf's notAfter may lie before *at* (RFC 8995 §2.6.2); its
                notBefore, and the CAs' dates, count still.

        Returns:
            Leaf first, anchor last.

        Raises:
            ChainInvalid: there is no such path.
            TooLarge: finding out would cost more than one message may (:mod:`brski.pki.effort`).

        RFC 5280 §6.1; RFC 8995 §5.1, §5.5.2.
        """
        question = (leaf, tuple(intermediates), ignore_leaf_expiry)
        path = self._known.get(question, at)
        if path is None:
            path = self._validate(leaf, intermediates, at=at, ignore_leaf_expiry=ignore_leaf_expiry)
            dated = path[1:] if ignore_leaf_expiry and len(path) > 1 else path
            self._known.keep(question, path, dated)
        return path

    def validate_without_clock(
        self, leaf: x509.Certificate, intermediates: Sequence[x509.Certificate]
    ) -> tuple[x509.Certificate, ...]:
        """As :meth:`validate`, for a pledge that has no clock: no date is looked at.

        Raises:
            ChainInvalid: there is no such path.

        RFC 8995 §2.6.1.
        """
        return self._validate(leaf, intermediates, at=None, ignore_leaf_expiry=False)

    def _validate(
        self,
        leaf: x509.Certificate,
        intermediates: Sequence[x509.Certificate],
        *,
        at: datetime | None,
        ignore_leaf_expiry: bool,
    ) -> Path:
        pool = tuple(dict.fromkeys(intermediates))
        if len(pool) > POOL_LIMIT:
            raise ChainInvalid(f"{len(pool)} certificates, {POOL_LIMIT} are the most")
        reason = ""
        for path in islice(self._search(leaf, pool), _PATHS_LIMIT):
            try:
                self._judge(path, at, ignore_leaf_expiry)
            except (ChainInvalid, Malformed) as err:
                reason = err.reason
            else:
                return path
        raise ChainInvalid(
            reason or f"no anchor or certificate given is named as the issuer of {called(leaf)}",
            section=_SECTION,
        )

    # -- finding: names and key identifiers, no signatures
    def _search(self, leaf: x509.Certificate, pool: Path) -> Iterator[Path]:
        if self._allow_end_entity_anchor and leaf in self._policies:
            yield (leaf,)
        unfinished: list[Path] = [(leaf,)]
        for _ in range(_STEPS_LIMIT):
            if not unfinished:
                return
            path = unfinished.pop()
            top = path[-1]
            for anchor in _likely_issuers(top, self._by_subject.get(top.issuer, ())):
                if anchor not in path:
                    yield (*path, anchor)
            if len(path) <= INTERMEDIATES_LIMIT:
                onward = _likely_issuers(top, pool)
                unfinished.extend((*path, c) for c in reversed(onward) if not _closes_loop(path, c))

    # -- judging: one path, whole
    def _judge(self, path: Path, at: datetime | None, ignore_leaf_expiry: bool) -> None:
        keys = [check_algorithms(certificate) for certificate in path[:-1]]
        policy = self._policies[path[-1]]  # anchors' keys have been looked at
        expired = ignore_leaf_expiry and at is not None and path[0].not_valid_after_utc < at
        walked = expired or any(map(_is_ed25519, keys[1:])) or _names_repeat(path)
        if at is None or policy is None or walked or is_known(path):
            walk(path, at, ignore_leaf_expiry)
            return
        for certificate in path:
            check_form(certificate)
        leaf, between = path[0], path[1:-1]
        known = self._issuers.get(path[1:], at) if between else None
        _verify(leaf, () if known else between, known or policy, at)
        if between and not known:
            self._issuers.keep(path[1:], _device_policy(path[1]), path[1:])


def _names_repeat(path: Path) -> bool:
    """The verifier would try each certificate of a name that it looks for; the walk tries one."""
    return len({certificate.subject for certificate in path[1:]}) < len(path) - 1


def _verify(leaf: x509.Certificate, between: Path, policy: PolicyBuilder, at: datetime) -> None:
    effort.spend(len(between) + 1)
    try:
        policy.time(at).build_client_verifier().verify(leaf, list(between))
    except VerificationError as err:
        raise ChainInvalid(f"{called(leaf)}: {err}", section=_SECTION) from err


def _likely_issuers(
    certificate: x509.Certificate, candidates: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """Those of *candidates* that bear the issuer's name, and its key identifier first."""
    wanted = authority_key_identifier(certificate)
    sure, possible = [], []
    for candidate in candidates:
        if candidate.subject != certificate.issuer:
            continue
        given = subject_key_identifier(candidate)
        if wanted is None or given is None:
            possible.append(candidate)
        elif wanted == given:
            sure.append(candidate)
    return sure + possible


def _closes_loop(path: Path, certificate: x509.Certificate) -> bool:
    """The same name and key are on the path already: another certificate of one CA, or this one."""
    return any(
        certificate.subject == other.subject and spki_of(certificate) == spki_of(other)
        for other in path
    )


def _is_ed25519(key: PublicKey) -> bool:
    return isinstance(key, ed25519.Ed25519PublicKey)


def _device_policy(anchor: x509.Certificate) -> PolicyBuilder:
    # permit_all alone takes an issuer whose KeyUsage lacks keyCertSign, and one without
    # BasicConstraints.
    issuers = (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_key_cert_sign)
        .require_not_present(x509.NameConstraints)
    )
    leaves = ExtensionPolicy.permit_all().require_not_present(x509.NameConstraints)
    return (
        PolicyBuilder()
        .store(Store([anchor]))
        .max_chain_depth(INTERMEDIATES_LIMIT)
        .extension_policies(ca_policy=issuers, ee_policy=leaves)
    )


def _require_key_cert_sign(
    _: Policy, certificate: x509.Certificate, value: x509.KeyUsage | None
) -> None:
    if value is not None and not value.key_cert_sign:
        raise ChainInvalid(
            f"{called(certificate)} issues without keyCertSign", section="RFC 5280 §4.2.1.3"
        )


def check_presented_chain(chain: Sequence[x509.Certificate]) -> None:
    """Raise unless each certificate is issued by the next one.

    What a pledge can check of a registrar before it trusts it: nothing here tells whose chain it
    is. The last certificate, where it names itself as its issuer, must have signed itself.

    Args:
        chain: as presented in TLS, leaf first.

    Raises:
        ChainInvalid: no certificate, more than 8, a key that is not of an accepted kind, a
            certificate that the next one has not issued.

    RFC 8995 §5.1.
    """
    if not 1 <= len(chain) <= registry.CERTIFICATES_LIMIT:
        raise ChainInvalid(f"chain of {len(chain)} certificates", section="RFC 8995 §5.1")
    for certificate in chain:
        check_algorithms(certificate)
    for certificate, issuer in pairwise(chain):
        check_issued(certificate, issuer)
    if chain[-1].subject == chain[-1].issuer:
        check_issued(chain[-1], chain[-1])


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether the certificate names itself as its issuer and its own key has signed it.

    RFC 5280 §3.2.
    """
    try:
        check_issued(certificate, certificate)
    except ChainInvalid:
        return False
    return True


def validate_to_pin(
    chain: Sequence[x509.Certificate], pin: x509.Certificate, *, at: datetime | None
) -> None:
    """Raise unless the registrar's *chain* leads to the pinned domain certificate.

    The pin may be the registrar itself (the same public key, in whatever certificate), a CA
    anywhere above it, or the root; it need not be self-signed, and nothing but it is trusted.

    Args:
        chain: as presented in TLS, leaf first.
        pin: pinned-domain-cert of a voucher that has been verified.
        at: aware; None on a pledge without a clock, where no date is looked at.

    Raises:
        PinMismatch: it does not.

    RFC 8995 §5.6.2; RFC 8366 §5.3.
    """
    try:
        _reach_pin(tuple(chain), pin, at)
    except (ChainInvalid, KeyNotAllowed, Malformed) as err:
        raise PinMismatch(
            f"the registrar's chain does not lead to the pinned {called(pin)}: {err.reason}",
            section="RFC 8995 §5.6.2",
        ) from err


def _reach_pin(chain: Path, pin: x509.Certificate, at: datetime | None) -> None:
    if not chain:
        raise ChainInvalid("no certificate was presented")
    if spki_of(chain[0]) == spki_of(pin):
        check_algorithms(chain[0])
        walk(chain[:1], at, ignore_leaf_expiry=False)
    elif at is None:
        TrustAnchors((pin,)).validate_without_clock(chain[0], chain[1:])
    else:
        TrustAnchors((pin,)).validate(chain[0], chain[1:], at=at)
