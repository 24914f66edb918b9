"""Leaves what came to exist in a folder: anchors, and one folder a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brski.edge.atomic_file import write_atomically
from brski.edge.signers.file import pem_of
from brski.pki.keys import parse_certificate
from brski_lab.stage import Stage, read_roots
from brski_lab.story import ENROLLED, Story


def keep_artifacts(folder: Path, stage: Stage, stories: Sequence[Story]) -> None:
    """Write ``anchors/*.pem`` and ``<serial number>/*`` of every genuine or unknown device.

    An impostor gets no folder: the one of its serial number is the genuine device's.
    """
    anchors = folder / "anchors"
    anchors.mkdir()
    for name, roots in read_roots(stage).items():
        write_atomically(anchors / f"{name}.pem", pem_of(roots), mode=0o644)
    taken: set[str] = set()
    for story in sorted(stories, key=lambda story: not story.part.genuine):
        if story.part.serial_number in taken:
            continue
        taken.add(story.part.serial_number)
        _keep_device(folder / story.part.serial_number, story)


def _keep_device(folder: Path, story: Story) -> None:
    folder.mkdir()
    made = story.artifacts
    enrolled = story.outcome == ENROLLED
    files = {
        "pledge-voucher-request.cms": made.pledge_voucher_request,
        "registrar-voucher-request.cms": story.registrar_request,
        "voucher.cms": made.voucher,
        "idevid.pem": _pem(story.idevid_chain[:-1]),
        "ldevid.pem": made.ldevid_pem if enrolled else b"",
        "ca-certs.pem": made.ca_certs_pem,
    }
    for name, octets in files.items():
        if octets:
            write_atomically(folder / name, octets, mode=0o644)


def _pem(chain: Sequence[bytes]) -> bytes:
    return pem_of(parse_certificate(octets) for octets in chain)
