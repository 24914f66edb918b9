"""Device records from manifests that the manufacturer has signed for this owner (docs/manifest.md).

For a site without a line to the manufacturer. ``brski-registrar load-manifest`` brings them into
the local copy; here it is asked, inline: a look-up is shorter than a hop to a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field

from brski.edge.atomic_file import file_error
from brski.edge.settings import ExistingFile, Settings
from brski.edge.signers.public_key import load_public_key
from brski.errors import LocalError, Unavailable
from brski.idevid.manifest import open_manifest
from brski.idevid.record import DeviceRecord
from registrar_plugin.oem_source.manifest_copy import LoadedManifest, ManifestCopy, load_manifest

log = logging.getLogger(__name__)

_WARN_EVERY_S: Final = 3600
_RETRY_S: Final = 60
_Name = Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,62}[!-~])?$")]


class ManifestSourceSettings(Settings):
    """The table ``[manufacturer.source]`` with ``kind = "manifest"``."""

    kind: Literal["manifest"] = "manifest"
    path: Path
    owner: _Name
    signer: _Name
    key: ExistingFile  # PEM: PUBLIC KEY, or a certificate around it


class ManifestSource:
    """One manufacturer's manifests, a :class:`registrar_plugin.oem_source.port.DeviceRecordSource`.

    Args:
        path: the local copy; made when missing.
        clock: aware UTC; manifests have a life.

    Raises:
        LocalError: *path* is another program's file, or cannot be opened.
        Unavailable: the disk.
    """

    Settings = ManifestSourceSettings

    is_local = True

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 - the edge
    ) -> None:
        self._copy = ManifestCopy(path)
        self._clock = clock
        self._warned_at: datetime | None = None

    @classmethod
    def open(cls, settings: ManifestSourceSettings) -> Self:
        """Build it from its table; raises as the class does."""
        return cls(settings.path)

    async def find(
        self,
        idevid_issuer: bytes | None,
        serial_number: str,
        *,
        spki_sha256: bytes | None,  # noqa: ARG002 - the port's; a local copy has no stranger to refuse
    ) -> tuple[DeviceRecord, ...]:
        """Look the serial number up; the key's digest is not needed.

        Raises:
            Unavailable: no manifest is alive, or the file cannot be read now.
        """
        now = self._clock()
        try:
            found = self._copy.find(idevid_issuer, serial_number, now=now)
            if not found:
                self._check_alive(now)
        except LocalError as err:
            raise Unavailable(f"the copy of manifests cannot be read: {err.reason}") from err
        return found

    async def close(self) -> None:
        """Close the file."""
        self._copy.close()

    def _check_alive(self, now: datetime) -> None:
        """One answer for every serial number that is not found: no one learns which has ended."""
        alive, ended = self._copy.ended(now=now)
        if ended and (
            self._warned_at is None or (now - self._warned_at).total_seconds() >= _WARN_EVERY_S
        ):
            self._warned_at = now
            log.warning("manifests have ended", extra={"orders": list(ended[:16])})
        if not alive:
            raise Unavailable("no manifest of this manufacturer is alive", retry_after_s=_RETRY_S)


def load_file(settings: ManifestSourceSettings, file: Path, *, now: datetime) -> LoadedManifest:
    """Verify the manifest *file* and bring it into the copy that *settings* name.

    Raises:
        ManifestRefused, SignatureInvalid, Malformed, UnknownFormat, TooLarge: the manifest, whole;
            see :func:`brski.idevid.manifest.open_manifest` and
            :func:`registrar_plugin.oem_source.manifest_copy.load_manifest`.
        SerialNumberMismatch, IDevIDIssuerMismatch, KeyNotAllowed: one of its records.
        KeyUnusable, FileUnusable, StateError, Unavailable: ours.
    """
    signers = {settings.signer: load_public_key(settings.key)}
    try:
        stream = file.open("rb")
    except OSError as err:
        raise file_error(err, file, "read") from err
    with stream:
        manifest = open_manifest(stream, signers, owner=settings.owner, now=now)
        return load_manifest(settings.path, manifest, now=now)
