"""A device whose IDevID key and certificate are files, as another factory may have made them."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from brski.edge.signers.file import load_chain, load_signer
from brski.edge.signers.key import KeySigner
from brski.errors import KeyUnusable, PeerError
from brski.pki.extensions import idevid_issuer_of
from brski.pki.keys import encode_spki
from brski.pki.names import device_serial_number
from device_client.identity.carried import check_carried_chain


class FileIdentity:
    """Implements :class:`device_client.identity.port.DeviceIdentity`; always carried.

    Args:
        signer: the IDevID key with its chain, leaf first.
        voucher_anchors: the manufacturer's, for vouchers.

    Raises:
        KeyUnusable: the chain is no IDevID's, or not this key's.
    """

    def __init__(self, signer: KeySigner, voucher_anchors: tuple[x509.Certificate, ...]) -> None:
        if not signer.chain:
            raise KeyUnusable("an IDevID in files needs its certificate")
        self._signer = signer
        self._voucher_anchors = voucher_anchors
        try:
            self._serial_number = device_serial_number(signer.chain[0])
            self._idevid_issuer = idevid_issuer_of(signer.chain[0])
        except PeerError as err:
            raise KeyUnusable(f"the certificate is no IDevID: {err.reason}") from err
        check_carried_chain(
            signer.chain,
            spki=encode_spki(signer.public_key),
            serial_number=self._serial_number,
            idevid_issuer=self._idevid_issuer,
        )

    @property
    def serial_number(self) -> str:
        """Of the certificate's subject."""
        return self._serial_number

    @property
    def idevid_issuer(self) -> bytes | None:
        """20-octet keyIdentifier of the certificate's issuer."""
        return self._idevid_issuer

    @property
    def carried(self) -> bool:
        """True."""
        return True

    @property
    def client_chain(self) -> tuple[x509.Certificate, ...]:
        """The IDevID chain, leaf first."""
        return self._signer.chain

    @property
    def voucher_anchors(self) -> tuple[x509.Certificate, ...]:
        """Whom alone it believes vouchers."""
        return self._voucher_anchors

    def signer(self) -> KeySigner:
        """The IDevID key."""
        return self._signer

    def __repr__(self) -> str:
        return f"<FileIdentity {self._serial_number}>"


def load_identity(key_path: Path, chain_path: Path, voucher_anchors_path: Path) -> FileIdentity:
    """Read an identity from its files.

    Args:
        key_path: PEM private key, mode 0600 or less.
        chain_path: PEM, the IDevID first, then its issuers without the root.
        voucher_anchors_path: PEM certificates.

    Raises:
        KeyUnusable: as :class:`FileIdentity`, or others may read the key.
        FileUnusable: a file is missing or holds no certificates.
    """
    return FileIdentity(load_signer(key_path, chain_path), load_chain(voucher_anchors_path))
