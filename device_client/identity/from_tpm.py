"""A device whose IDevID key a TPM derived from its seed, and holds.

The first boot is told step by step in docs/tpm.md: one command makes the key durable in the TPM,
one rename makes the file forget the wrapped seed; killed at any point, the next boot goes on.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.errors import DerivationRefused, KeyUnusable, PeerError
from brski.idevid.assertion import assertion_certificate
from brski.pki.keys import encode_spki
from brski.pki.signer import Signer
from device_client.identity.carried import check_carried_chain
from device_client.identity.tpm_file import TPMDevice, load_device, write_device
from device_client.tpm import templates
from device_client.tpm.chip import Chip
from device_client.tpm.connection import TPM
from device_client.tpm.objects import Key
from device_client.tpm.signers import OpenSigner, PersistentSigner

log = logging.getLogger(__name__)

HANDLE: Final = 0x81010001
_SECTION: Final = "docs/tpm.md"


class TPMIdentity:
    """Implements :class:`device_client.identity.port.DeviceIdentity`; made by :func:`boot`.

    Args:
        device: after its first boot.
        signer: the IDevID key, its chain what the device shows in TLS.
    """

    def __init__(self, device: TPMDevice, signer: PersistentSigner) -> None:
        self._device = device
        self._signer = signer

    @property
    def serial_number(self) -> str:
        """As the device asserts it."""
        return self._device.serial_number

    @property
    def idevid_issuer(self) -> bytes | None:
        """20-octet keyIdentifier of the OEM's issuer."""
        return self._device.idevid_issuer

    @property
    def carried(self) -> bool:
        """Whether the device holds its IDevID certificate."""
        return bool(self._device.certificates)

    @property
    def client_chain(self) -> tuple[x509.Certificate, ...]:
        """The IDevID chain, or the one assertion certificate; leaf first."""
        return self._signer.chain

    @property
    def voucher_anchors(self) -> tuple[x509.Certificate, ...]:
        """Whom alone it believes vouchers."""
        return self._device.voucher_anchors

    def signer(self) -> Signer:
        """The IDevID key, which signs in the TPM."""
        return self._signer

    def __repr__(self) -> str:
        return f"<TPMIdentity {self.serial_number}>"


def boot(path: Path, tpm: TPM, handle: int = HANDLE) -> TPMIdentity:
    """Let the TPM derive the IDevID key, if it has not yet; and say who the device is.

    Args:
        path: the device file. The first boot writes it anew, without the wrapped seed.
        handle: where the TPM keeps the key: 0x81000000 to 0x817fffff, free before the first boot.

    Raises:
        DerivationRefused: this TPM derives no ECC keys, and the file brings no wrapped key.
        KeyUnusable: the TPM was cleared, the seed is another TPM's, the key is not the announced
            one, the handle is taken, or the certificates are not for the key; also where others
            may read the file.
        Unavailable: the TPM is taken, full or silent; or the disk is full.
        SettingsError, StateError, FileUnusable: the settings or the file cannot be used.

    docs/tpm.md.
    """
    with tpm.open() as chip:
        device = load_device(path)
        key = chip.persistent_key(handle) or _first_key(chip, device, handle)
        _check_key(key, device, handle)
        settled = _settled(device, OpenSigner(chip, key))
        if settled != device:
            write_device(path, settled, may_replace=True)
        public_key = key.public_key
    chain = settled.certificates or tuple(filter(None, [settled.assertion]))
    return TPMIdentity(settled, PersistentSigner(tpm, handle, public_key, chain))


def _first_key(chip: Chip, device: TPMDevice, handle: int) -> Key:
    """Make the IDevID key persistent at *handle*; raises as :func:`boot`."""
    _make_key(chip, device, handle)
    kept = chip.persistent_key(handle)
    if kept is None:
        raise KeyUnusable("the TPM did not keep the key", section=_SECTION)
    log.info("the TPM holds the IDevID key", extra={"handle": f"0x{handle:08x}"})
    return kept


def _make_key(chip: Chip, device: TPMDevice, handle: int) -> None:
    """Derive the key; where that is refused, or there is no seed, import it."""
    if device.wrapped_seed is not None:
        suite = templates.PROFILES[device.derivation_profile]
        try:
            with chip.derived_key(device.wrapped_seed, suite, device.chip_id) as key:
                return _keep(chip, key, device, handle)
        except DerivationRefused as err:
            if device.wrapped_key is None:
                raise
            log.warning("the TPM derives no keys, this one is imported", extra={"said": str(err)})
    if device.wrapped_key is None:
        raise KeyUnusable(
            f"the TPM holds no key at 0x{handle:08x}, and the device file no wrapped seed",
            section=_SECTION,
            hint="was the TPM cleared or exchanged? The vendor can wrap the seed anew",
        )
    with chip.imported_key(device.wrapped_key) as key:
        return _keep(chip, key, device, handle)


def _keep(chip: Chip, key: Key, device: TPMDevice, handle: int) -> None:
    if not _is_announced(key, device):
        raise KeyUnusable(
            "the TPM made another key than the vendor announced; nothing is kept",
            section=_SECTION,
        )
    chip.persist(key, handle)


def _check_key(key: Key, device: TPMDevice, handle: int) -> None:
    if not templates.may_only_sign(key.public) or not _is_announced(key, device):
        raise KeyUnusable(
            f"the object at 0x{handle:08x} is not this device's IDevID key",
            section=_SECTION,
            hint="give each device of one TPM a handle of its own",
        )


def _is_announced(key: Key, device: TPMDevice) -> bool:
    digest = hashlib.sha256(encode_spki(key.public_key)).digest()
    return hmac.compare_digest(digest, device.spki_sha256)


def _settled(device: TPMDevice, signer: OpenSigner) -> TPMDevice:
    """*device* as it is after its first boot: without what is wrapped, sure of what it shows."""
    if device.certificates:
        check_carried_chain(
            device.certificates,
            spki=encode_spki(signer.public_key),
            serial_number=device.serial_number,
            idevid_issuer=device.idevid_issuer,
        )
    assertion = None if device.certificates else device.assertion or _assert(device, signer)
    return replace(device, wrapped_seed=None, wrapped_key=None, assertion=assertion)


def _assert(device: TPMDevice, signer: OpenSigner) -> x509.Certificate:
    try:
        return assertion_certificate(
            signer,
            device.serial_number,
            idevid_issuer=device.idevid_issuer,
            masa_url=device.masa_url,
        )
    except PeerError as err:
        raise KeyUnusable(f"no assertion certificate: {err.reason}", section=_SECTION) from err
