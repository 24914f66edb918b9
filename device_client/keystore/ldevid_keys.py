"""The port to whatever makes and holds LDevID private keys: this process, a TPM, a token.

The keystore never sees a private key through it, only a *reference*: octets that it keeps as
durable as the LDevID beside it, mode 0600, and does not look into. What is in them is the
adapter's. For a key in files it is the key itself (PKCS #8); for a TPM it would be what
TPM2_Create gave back, the public part and the private part wrapped to the chip's storage key
(``TSS2 PRIVATE KEY``), of no use anywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cryptography import x509

from brski.est.requirements import KeyRequirement
from brski.pki.signer import Signer


class LDevIDKeys(Protocol):
    """Makes LDevID keys, always fresh ones from the holder's own generator, and signs with them.

    Never the IDevID key, and nothing that could be derived from the seed. Calls may block (a chip,
    another process): they are made in a thread. A reference is all that there is: an adapter keeps
    no state of its own, so that deleting the octets deletes the key, and a crash between
    :meth:`make` and the keystore's writing leaves nothing behind.
    """

    def make(self, kind: KeyRequirement) -> bytes:
        """Make a fresh key of that *kind*, of which every part is given.

        Returns:
            Its reference: PEM text with a label that tells this adapter's from another's, 64 KiB
            at most.

        Raises:
            UnknownFormat: no kind that this device makes; enrollment fails with that reason.
            KeyUnusable, Unavailable: the holder does not make one, or not now.
        """

    def signer(self, reference: bytes, chain: Sequence[x509.Certificate] = ()) -> Signer:
        """The key behind *reference*.

        A :class:`~brski.edge.signers.key.KeySigner` where the key is in this process: OpenSSL then
        speaks TLS with it. Any other signer must be P-256 or P-384 to be used in TLS.

        Args:
            reference: as :meth:`make` returned it, perhaps in another life of the device.
            chain: what the signer's ``chain`` is to be: the LDevID, leaf first; empty for a CSR.

        Raises:
            StateError: not a reference of this adapter's, or damaged.
            KeyUnusable: the chain is for another key, or the holder refuses the key.
            Unavailable: the holder does not answer.
        """
