"""strongSwan's pki as an EST client: it fetches the CA's certificates and renews a device's LDevID.

It speaks TLS 1.2 and no later, reads base64 on one line alone, and ends without a clean close.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.signers.file import write_chain, write_private_key
from brski.pki.keys import encode_spki, spki_of
from registrar_plugin.enrollment.profile import EnrollmentProfile
from tests.kit import pki
from tests.kit.programs import require_program
from tests.kit.world import World, make_world
from tests.kit.world_site import Site, est_site


async def strongswan(site: Site, command: str, *arguments: str) -> tuple[int, str]:
    """``pki --COMMAND`` in the site's folder: its exit status, and what it said."""
    url = f"https://{site.address}"
    process = await asyncio.create_subprocess_exec(
        *(require_program("pki", "strongswan-pki"), f"--{command}", "--url", url, *arguments),
        cwd=site.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    (site.folder / "out.pem").write_bytes(out)
    return process.returncode or 0, err.decode(errors="replace")


def write_owner(world: World, folder: Path) -> None:
    """The root that strongSwan is told to believe, and the CA below it."""
    write_chain(folder / "root.pem", [world.owner.root])


@pytest.mark.requirement("ESTS-1", "ESTS-4", "ESTS-5")
async def test_it_fetches_the_cas_certificates(tmp_path: Path) -> None:
    """From a profile that writes base64 as it reads it: on one line, however long."""
    profile = EnrollmentProfile(base64="line")
    async with make_world(tmp_path, profile=profile) as world, est_site(world, tmp_path) as site:
        write_owner(world, tmp_path)
        code, said = await strongswan(
            *(site, "estca", "--cacert", "root.pem", "--caout", "ca.pem"),
            *("--outform", "pem", "--force"),
        )
        assert code == 0, said
        fetched = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("ca*.pem")))
        found = {each.fingerprint(SHA256()) for each in x509.load_pem_x509_certificates(fetched)}
        assert {each.fingerprint(SHA256()) for each in world.owner.chain} <= found


@pytest.mark.requirement("ESTS-8", "ESTS-9", "TLS-1")
async def test_it_renews_an_ldevid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a new key, over the LDevID that it replaces; which then renews no more."""
    caplog.set_level(logging.DEBUG)
    async with make_world(tmp_path) as world, est_site(world, tmp_path) as site:
        write_owner(world, tmp_path)
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        key, fresh = pki.KeySigner(pki.make_key()), pki.KeySigner(pki.make_key())
        ldevid = await world.enroll(device, key)
        assert isinstance(ldevid, x509.Certificate)
        write_chain(tmp_path / "old.pem", [ldevid])
        write_private_key(tmp_path / "old.key", key.private_key)
        (tmp_path / "csr.der").write_bytes(world.csr(device, fresh))
        asked = (
            *("--in", "csr.der", "--cacert", "root.pem", "--cert", "old.pem", "--key", "old.key"),
            *("--outform", "pem"),
        )
        code, said = await strongswan(site, "est", *asked)
        assert code == 0, said
        (renewed,) = x509.load_pem_x509_certificates((tmp_path / "out.pem").read_bytes())
        assert spki_of(renewed) == encode_spki(fresh.public_key)
        assert renewed.subject == ldevid.subject
        active = await world.journal.active_certificate(device.key)
        assert active is not None
        assert active.certificate == renewed.public_bytes(Encoding.DER)
        (tmp_path / "csr.der").write_bytes(world.csr(device))
        code, _ = await strongswan(site, "est", *asked)
        assert code != 0
        assert await world.journal.active_certificate(device.key) == active
    assert "Traceback" not in caplog.text
