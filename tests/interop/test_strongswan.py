"""strongSwan's pki as an EST client: CA certificates, first certificates by password, renewals.

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
from registrar_plugin.identity.clients import PASSWORD, client_key
from tests.kit import pki
from tests.kit.accounts import SECRET, account, written
from tests.kit.pending_ca import PendingCA
from tests.kit.programs import require_program
from tests.kit.world import World, make_domain, make_world
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


# -- a client that is no device: a user name and a password, then the certificate they got it

GATEWAY = client_key(PASSWORD, "gateway")
USERPASS = ("--userpass", f"gateway:{SECRET}")
WAITS = ("--interval", "1", "--maxpolltime", "20")


async def make_request(folder: Path, name: str) -> None:
    """A key and a request of strongSwan's own making, ``NAME.key`` and ``NAME.csr``."""
    command = require_program("pki", "strongswan-pki")
    for arguments, made in (
        (("--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"), f"{name}.key"),
        (
            ("--req", "--type", "ecdsa", "--in", f"{name}.key", "--dn", "CN=gateway"),
            f"{name}.csr",
        ),
    ):
        process = await asyncio.create_subprocess_exec(
            *(command, *arguments),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        (folder / made).write_bytes(out)


async def ask(site: Site, name: str, *arguments: str) -> tuple[int, str]:
    """``pki --est`` with the request ``NAME.csr``."""
    sent = ("--in", f"{name}.csr", "--cacert", "root.pem", "--outform", "pem")
    return await strongswan(site, "est", *sent, *arguments)


def received(site: Site, name: str) -> x509.Certificate:
    """What came, now in ``NAME.pem``."""
    pem = (site.folder / "out.pem").read_bytes()
    (certificate,) = x509.load_pem_x509_certificates(pem)
    (site.folder / f"{name}.pem").write_bytes(pem)
    return certificate


@pytest.mark.requirement("ESTS-6", "ESTS-8", "ESTS-9", "SEC-11", "TLS-1")
async def test_it_enrolls_by_password_and_renews_by_certificate(tmp_path: Path) -> None:
    """The whole life of a client: Basic in TLS, then mutual TLS, with a new key each time."""
    accounts = written(tmp_path, account())
    async with (
        make_world(tmp_path, accounts=accounts) as world,
        est_site(world, tmp_path) as site,
    ):
        write_owner(world, tmp_path)
        await make_request(tmp_path, "first")
        code, _ = await ask(site, "first", "--userpass", "gateway:wrong-wrong")
        assert code != 0
        assert await world.journal.active_certificate(GATEWAY) is None
        code, said = await ask(site, "first", *USERPASS)
        assert code == 0, said
        first = received(site, "first")
        assert first.subject == pki.common_name("gateway")

        await make_request(tmp_path, "second")
        code, said = await ask(site, "second", "--cert", "first.pem", "--key", "first.key")
        assert code == 0, said
        second = received(site, "second")
        assert second.subject == first.subject
        assert second.public_key() != first.public_key()
        active = await world.journal.active_certificate(GATEWAY)
        assert active is not None
        assert active.certificate == second.public_bytes(Encoding.DER)

        await make_request(tmp_path, "third")
        code, _ = await ask(site, "third", "--cert", "first.pem", "--key", "first.key")
        assert code != 0  # the former certificate renews no more


@pytest.mark.requirement("ESTS-10")
async def test_it_comes_back_until_the_ca_has_decided(tmp_path: Path) -> None:
    """202 with Retry-After, the same request again, the certificate: of one intent."""
    domain = make_domain()
    ca = PendingCA(domain[0].signer, tmp_path / "ca", retry_after_s=1)
    accounts = written(tmp_path, account())
    async with (
        make_world(tmp_path, ca=ca, domain=domain, accounts=accounts) as world,
        est_site(world, tmp_path) as site,
    ):
        write_owner(world, tmp_path)
        await make_request(tmp_path, "first")
        asked = asyncio.create_task(ask(site, "first", *USERPASS, *WAITS))
        async with asyncio.timeout(30):
            while not ca.asked():
                await asyncio.sleep(0.05)
        assert not asked.done()
        ca.approve()
        code, said = await asked
        assert code == 0, said
        assert len(ca.asked()) == 1
        active = await world.journal.active_certificate(GATEWAY)
        assert active is not None
        assert active.certificate == received(site, "first").public_bytes(Encoding.DER)


@pytest.mark.requirement("ESTS-10")
async def test_it_gives_up_where_the_ca_never_decides(tmp_path: Path) -> None:
    """After the time that it was told; the intent stays, and the next call is given the answer."""
    domain = make_domain()
    ca = PendingCA(domain[0].signer, tmp_path / "ca", retry_after_s=1)
    accounts = written(tmp_path, account())
    async with (
        make_world(tmp_path, ca=ca, domain=domain, accounts=accounts) as world,
        est_site(world, tmp_path) as site,
    ):
        write_owner(world, tmp_path)
        await make_request(tmp_path, "first")
        code, _ = await ask(site, "first", *USERPASS, "--interval", "1", "--maxpolltime", "2")
        assert code != 0
        assert await world.journal.active_certificate(GATEWAY) is None
        ca.approve()
        code, said = await ask(site, "first", *USERPASS)
        assert code == 0, said
        assert received(site, "first").subject == pki.common_name("gateway")
