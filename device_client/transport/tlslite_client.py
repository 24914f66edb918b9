"""What of tlslite-ng a client needs whose key only signs. The only module that imports it.

tlslite-ng hands a *digest* to the key that is to sign. A signer of ours signs data, so that whoever
holds the key can see what it puts its name to; so the data is rebuilt here from the handshake, and
goes out only if it has that digest.
"""

from __future__ import annotations

import errno
import hashlib
import warnings
from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.errors import HandshakeFailed, KeyUnusable
from brski.pki import signatures
from brski.pki.keys import certificate_der
from brski.pki.signer import Signer

with warnings.catch_warnings():  # it imports asyncore, of which Python 3.11, our oldest, warns
    warnings.simplefilter("ignore", DeprecationWarning)
    from tlslite.constants import ECPointFormat, ExtensionType
    from tlslite.constants import SignatureScheme as SignatureScheme  # passed on, as X509 is
    from tlslite.handshakesettings import HandshakeSettings
    from tlslite.messages import CertificateRequest, ClientHello, Finished
    from tlslite.tlsconnection import TLSConnection
    from tlslite.utils.cryptomath import derive_secret
    from tlslite.x509 import X509 as X509
    from tlslite.x509certchain import X509CertChain

TLS_1_2: Final = (3, 3)
TLS_1_3: Final = (3, 4)
# what tlslite-ng would offer whatever its settings are
_NOT_OFFERED: Final = frozenset(
    {
        ExtensionType.post_handshake_auth,
        ExtensionType.session_ticket,
        ExtensionType.psk_key_exchange_modes,
    }
)
WANTS_READ: Final = 0  # what tlslite-ng's generators yield when they lack octets

_TLS13_CONTEXT: Final = b"\x20" * 64 + b"TLS 1.3, client CertificateVerify\x00"  # RFC 8446 §4.4.3
_HASHES: Final = ("sha256", "sha384")
_CURVE_NAMES: Final = {"secp256r1": "NIST256p", "secp384r1": "NIST384p"}  # as tlslite-ng has them
# RFC 8446 §4.2.3: what a server may sign with; on TLS 1.2 also PKCS #1 v1.5
_SCHEMES_1_3: Final = frozenset(
    {
        SignatureScheme.ecdsa_secp256r1_sha256,
        SignatureScheme.ecdsa_secp384r1_sha384,
        SignatureScheme.ed25519,
        SignatureScheme.rsa_pss_rsae_sha256,
        SignatureScheme.rsa_pss_rsae_sha384,
        SignatureScheme.rsa_pss_rsae_sha512,
    }
)
_SCHEMES_1_2: Final = _SCHEMES_1_3 | {
    SignatureScheme.rsa_pkcs1_sha256,
    SignatureScheme.rsa_pkcs1_sha384,
    SignatureScheme.rsa_pkcs1_sha512,
}


class Pipe:
    """A socket without a network, as tlslite-ng calls it."""

    def __init__(self) -> None:
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._ended = False

    @property
    def waiting(self) -> bool:
        """Whether :meth:`recv` would give something."""
        return bool(self._incoming) or self._ended

    def feed(self, data: bytes) -> None:
        self._incoming += data
        self._ended = self._ended or not data

    def take(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def recv(self, most: int) -> bytes:
        if not self.waiting:
            raise BlockingIOError(errno.EWOULDBLOCK, "nothing there")
        data = bytes(self._incoming[:most])
        del self._incoming[:most]
        return data

    def send(self, data: bytes) -> int:
        self._outgoing += data
        return len(data)

    def sendall(self, data: bytes) -> None:
        self._outgoing += data

    def close(self) -> None:
        """The network is not ours to close."""


class Connection(TLSConnection):  # type: ignore[misc]  # tlslite-ng has no types
    """tlslite-ng's connection, and what must be known of its inside."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self.client_finished = b""
        self._to_server_finished: Any = None

    def _sendMsg(self, msg: Any, *arguments: Any, **named: Any) -> Generator[object, None, None]:  # noqa: N802
        if isinstance(msg, ClientHello):
            msg.extensions = [each for each in msg.extensions if each.extType not in _NOT_OFFERED]
        elif isinstance(msg, Finished):
            self.client_finished = bytes(msg.verify_data)  # RFC 5929 §3.1
        yield from super()._sendMsg(msg, *arguments, **named)

    def _getMsg(self, *arguments: Any, **named: Any) -> Generator[object, None, None]:  # noqa: N802
        for result in super()._getMsg(*arguments, **named):
            if isinstance(result, Finished):
                self._to_server_finished = self._handshake_hash.copy()
            elif isinstance(result, CertificateRequest) and self.version == TLS_1_2:
                # else it gives up on a server that takes ECDSA alone
                result.supported_signature_algs += [SignatureScheme.rsa_pkcs1_sha256]
            yield result

    def exported(self, label: bytes, octets: int) -> bytes:
        """Keying material of TLS 1.3. tlslite-ng's client takes the exporter's secret over one
        message too many where it authenticates itself, so the secret is made anew.

        RFC 8446 §7.1 (exporter_master_secret), §7.5.
        """
        prf, _ = self._getPRFParams(self.session.cipherSuite)
        self.session.exporterMasterSecret = derive_secret(
            self.session.masterSecret, bytearray(b"exp master"), self._to_server_finished, prf
        )
        return bytes(self.keyingMaterialExporter(label, octets))

    @property
    def signed_as_offered(self) -> bool:
        """Whether the server's proof of its key is of an algorithm that was offered. tlslite-ng
        itself compares on TLS 1.2 only.
        """
        allowed = _SCHEMES_1_2 if self.version == TLS_1_2 else _SCHEMES_1_3
        return bool(self.serverSigAlg in allowed)

    def candidates(self) -> Iterator[bytes]:
        """What a client may have to sign at this moment, whole."""
        if self.version == TLS_1_2:  # RFC 5246 §7.4.8: every message so far
            yield bytes(self._certificate_verify_handshake_hash.digest("intrinsic"))
        else:
            for name in _HASHES:
                yield _TLS13_CONTEXT + bytes(self._handshake_hash.digest(name))

    def forget_handshake(self) -> None:
        """No client authentication after the handshake (RFC 8446 §4.6.2): it was not offered to
        whoever judges the first.
        """
        self._client_keypair = None


class SigningKey:
    """A signer as tlslite-ng calls a private key."""

    key_type = "ecdsa"

    def __init__(self, signer: Signer, connection: Connection) -> None:
        public_key = signer.public_key
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise KeyUnusable("a key outside this process must be P-256 or P-384 to be used in TLS")
        self._signer = signer
        self._connection = connection
        self._public_key = public_key
        self.hash_name = signatures.digest_algorithm(public_key)[1]
        octets = (public_key.key_size + 7) // 8
        self.curve_name = _CURVE_NAMES[public_key.curve.name]
        self.private_key = SimpleNamespace(curve=SimpleNamespace(baselen=octets))

    def sign(
        self, digest: bytearray, _padding: object, hash_name: str, *_rest: object
    ) -> bytearray:
        """Have what has that *digest* signed; raises as the signer does."""
        if hash_name != self.hash_name:
            raise HandshakeFailed(f"the server takes no signature of ECDSA with {self.hash_name}")
        for content in self._connection.candidates():
            if hashlib.new(self.hash_name, content).digest() == bytes(digest):
                return bytearray(self._signer.sign(content))
        raise HandshakeFailed("TLS wants a signature under something that is not the handshake")

    def verify(self, signature: bytearray, digest: bytearray, *_rest: object) -> bool:
        """Whether the signer did sign; tlslite-ng asks before it sends."""
        algorithm = hashes.SHA256() if self.hash_name == "sha256" else hashes.SHA384()
        try:
            self._public_key.verify(bytes(signature), bytes(digest), ec.ECDSA(Prehashed(algorithm)))
        except InvalidSignature as err:
            raise KeyUnusable("the device's key does not sign for its public half") from err
        return True


def certificates(signer: Signer, key: SigningKey) -> X509CertChain:
    """The signer's certificates, unparsed: tlslite-ng knows fewer algorithms than CAs do."""
    if not signer.chain:
        raise KeyUnusable("a private key for TLS needs its certificate")
    if signer.chain[0].public_key() != signer.public_key:
        raise KeyUnusable("the first certificate of the chain is for another key")
    shown = [X509() for _ in signer.chain]
    for each, certificate in zip(shown, signer.chain, strict=True):
        each.bytes = bytearray(certificate_der(certificate))
    shown[0].certAlg = key.key_type
    shown[0].publicKey = SimpleNamespace(curve_name=key.curve_name)
    return X509CertChain(shown)


def settings_of(
    hash_name: str, minimum: tuple[int, int], maximum: tuple[int, int]
) -> HandshakeSettings:
    settings = HandshakeSettings()
    settings.minVersion, settings.maxVersion = minimum, maximum
    settings.versions = [each for each in (TLS_1_3, TLS_1_2) if minimum <= each <= maximum]
    # forward secrecy and AEAD alone; the cheapest in Python first
    settings.keyExchangeNames = ["ecdhe_ecdsa", "ecdhe_rsa"]
    settings.cipherNames = ["aes128gcm", "chacha20-poly1305", "aes256gcm"]
    settings.macNames = ["aead"]
    settings.eccCurves = ["x25519", "secp256r1", "secp384r1"]
    settings.keyShares = ["x25519"]
    settings.dhGroups = []
    # on TLS 1.2 the first that the server also takes is what our key must sign with
    settings.ecdsaSigHashes = sorted(_HASHES, key=lambda name: name != hash_name)
    settings.rsaSigHashes = ["sha256", "sha384", "sha512"]
    settings.rsaSchemes = ["pss", "pkcs1"]
    settings.dsaSigHashes = []
    settings.more_sig_schemes = ["Ed25519"]
    settings.minKeySize, settings.maxKeySize = 2048, 4096
    settings.ec_point_formats = [ECPointFormat.uncompressed]
    settings.useEncryptThenMAC = False  # of no use with AEAD
    settings.use_heartbeat_extension = False
    settings.certificate_compression_receive = []
    settings.certificate_compression_send = []
    settings.psk_modes = ["psk_dhe_ke"]
    return settings


def same_key(proved: Any, public_key: object) -> bool:
    """Whether the key that tlslite-ng read from a certificate is the one that we read from it."""
    match public_key:
        case ec.EllipticCurvePublicKey():
            point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return bool(proved.public_key.to_string("uncompressed") == point)
        case rsa.RSAPublicKey():
            numbers = public_key.public_numbers()
            return bool((proved.n, proved.e) == (numbers.n, numbers.e))
        case ed25519.Ed25519PublicKey():
            return bool(proved.public_key.to_string() == public_key.public_bytes_raw())
    return False
