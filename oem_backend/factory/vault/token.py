"""A vault key out of a PKCS#11 token: what a secret that stays there makes of the vault's id."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brski.edge.signers.file import check_private_mode
from brski.edge.signers.pkcs11 import Token, TokenAddress
from brski.seed.vault import TOKEN_LABEL
from oem_backend.factory.vault.key import Source


class TokenKey:
    """Implements :class:`oem_backend.factory.vault.key.KeyKind`; entry point ``pkcs11``."""

    def load(self, source: Source, vault_id: bytes) -> bytes:
        """HMAC-SHA-256 in the token: 32 octets.

        Raises:
            KeyUnusable, FileUnusable, Unavailable: as :class:`brski.edge.signers.pkcs11.Token`.
        """
        with _turn(source), _open(source) as token:
            return token.mac(source["label"], TOKEN_LABEL + vault_id)

    def make(self, source: Source, vault_id: bytes) -> None:  # noqa: ARG002 - the port's
        """Make the secret, unless the token has it."""
        with _turn(source), _open(source, writable=True) as token:
            if not token.has_key(source["label"]):
                token.make_mac_key(source["label"])


@contextmanager
def _turn(source: Source) -> Iterator[None]:
    """One worker at a time: SoftHSM 2.6 loses sessions where several processes log in at once."""
    path = Path(source["pin_file"])
    check_private_mode(path)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(source: Source, *, writable: bool = False) -> Token:
    address = TokenAddress(
        module=Path(source["module"]), token=source["token"], pin_file=Path(source["pin_file"])
    )
    return Token(address, writable=writable)
