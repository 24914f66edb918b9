"""What a TPM's answers mean: which may pass, which are for good. TPM 2.0 Part 2 §6.6."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tpm2_pytss import TPM2_ALG, TPM2_RC, TPM2B_PUBLIC, TSS2_RC, TSS2_Exception

from brski.errors import (
    DerivationRefused,
    KeyUnusable,
    OnboardingError,
    SettingsError,
    Unavailable,
)

_LAYER: Final = 0x00FF0000
_TCTI_LAYER: Final = 0x000A0000
_CODE: Final = 0xFFFF
_MAY_PASS: Final = frozenset(
    {
        TPM2_RC.RETRY,
        TPM2_RC.YIELDED,
        TPM2_RC.TESTING,
        TPM2_RC.CANCELED,
        TPM2_RC.MEMORY,
        TPM2_RC.OBJECT_MEMORY,
        TPM2_RC.SESSION_MEMORY,
        TPM2_RC.OBJECT_HANDLES,
        TPM2_RC.SESSION_HANDLES,
        TPM2_RC.LOCKOUT,
        TPM2_RC.NV_RATE,
        TPM2_RC.NV_UNAVAILABLE,
    }
)
_WRONG_NAME: Final = frozenset({TSS2_RC.BASE_RC_BAD_VALUE, TSS2_RC.BASE_RC_NOT_SUPPORTED})
_NO_DERIVATION: Final = frozenset(
    {
        TPM2_RC.TYPE,  # FIPS mode: libtpms, "no-ecc-key-derivation"
        TPM2_RC.COMMAND_CODE,  # no TPM2_CreateLoaded: before library revision 1.38
        TPM2_RC.SCHEME,
        TPM2_RC.KDF,
        TPM2_RC.CURVE,
        TPM2_RC.ASYMMETRIC,
    }
)
_NOT_FOR_THIS_TPM: Final = frozenset(
    {TPM2_RC.INTEGRITY, TPM2_RC.ECC_POINT, TPM2_RC.SIZE, TPM2_RC.BINDING, TPM2_RC.INSUFFICIENT}
)


def translated(error: TSS2_Exception) -> OnboardingError:
    """What a TPM's answer means to us.

    Returns:
        :class:`~brski.errors.Unavailable` for what may pass (full, busy, locked out, no answer),
        else :class:`~brski.errors.KeyUnusable`.

    TPM 2.0 Part 2 §6.6.
    """
    rc = int(error.rc)
    if rc & _LAYER == _TCTI_LAYER:
        return Unavailable(f"the TPM does not answer: {error}")
    if rc & _CODE in _MAY_PASS:
        return Unavailable(f"the TPM is full or busy: {error} (0x{rc:x})")
    return KeyUnusable(f"the TPM refused: {error} (0x{rc:x})")


def not_reached(error: TSS2_Exception, tcti: str) -> OnboardingError:
    """What it means that no TPM could be opened at *tcti*.

    Returns:
        :class:`~brski.errors.SettingsError` where there is no such transport, else
        :class:`~brski.errors.Unavailable`.
    """
    if int(error.rc) & _CODE in _WRONG_NAME:
        return SettingsError(
            f"{tcti!r} is no TPM transport: {error}", hint='such as "device:/dev/tpmrm0"'
        )
    return Unavailable(
        f"no TPM at {tcti}: {error}", hint="is it there, may this user open it, is it taken?"
    )


@contextmanager
def deriving() -> Iterator[None]:
    """Tell in the block's errors the one that says that this TPM derives no keys.

    Raises:
        DerivationRefused: that one.
    """
    try:
        yield
    except TSS2_Exception as err:
        if _code(err) in _NO_DERIVATION:
            raise _refused(err) from err
        raise


@contextmanager
def importing(public: TPM2B_PUBLIC) -> Iterator[None]:
    """Tell in the block's errors those that say whose an object is, or what it is.

    Args:
        public: of the object that is imported or loaded.

    Raises:
        KeyUnusable: it is another TPM's, or damaged.
        DerivationRefused: it is a derivation parent, and the TPM knows no such objects.
    """
    try:
        yield
    except TSS2_Exception as err:
        if _code(err) in _NOT_FOR_THIS_TPM:
            raise KeyUnusable(
                "this object belongs to another TPM, or is damaged; or the TPM was cleared",
                section="TPM 2.0 Part 1 §23",
            ) from err
        if public.publicArea.type == TPM2_ALG.KEYEDHASH and _code(err) in _NO_DERIVATION:
            raise _refused(err) from err
        raise


def _code(error: TSS2_Exception) -> int:
    """What is wrong, whichever parameter it is about, and whichever layer says so."""
    return int(error.error) & _CODE


def _refused(error: TSS2_Exception) -> DerivationRefused:
    return DerivationRefused(
        f"this TPM derives no ECC keys: {error} (0x{int(error.rc):x})",
        section="docs/tpm.md",
        hint="ask the vendor for a file with a wrapped key, or keep the seed in a TEE",
    )
