"""Each CA has its revocation list: that of [ca], and that of a profile with a CA of its own."""

from __future__ import annotations

import asyncio
import subprocess
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.adapters import open_adapter
from brski.edge.serve import serving
from brski.edge.settings import load_settings
from brski.errors import SettingsError
from brski.pki.names import ldevid_subject
from registrar_plugin.adapters import CA_BACKENDS
from registrar_plugin.ca_backend.port import CABackend, LDevIDRequest
from registrar_plugin.cli import main
from registrar_plugin.composition import open_registrar
from registrar_plugin.server import listeners_of
from registrar_plugin.settings import RegistrarSettings
from registrar_plugin.store.sqlite import SQLiteJournal
from tests.kit import pki
from tests.kit.est_site import Files, lay_out, served, write_key, write_pem
from tests.kit.programs import require_program

MAIN = '[crl]\npath = "/pki/owner.crl"\nfile = "owner.crl"\n'
PROFILE = """
[[est.profile]]
label = "iot"
[est.profile.ca]
kind = "embedded"
key = "iot.key"
chain = "iot.pem"
crl_url = "http://crl.example.com/iot.crl"
"""
ITS_LIST = '[est.profile.crl]\npath = "/pki/iot.crl"\nfile = "iot.crl"\n'


def laid_out(folder: Path, more: str) -> Files:
    iot = pki.make_ca("Example IoT", pki.make_root("Example IoT Root"))
    write_key(folder / "iot.key", iot)
    write_pem(folder / "iot.pem", iot.chain)
    return lay_out(folder, more=more, ca='crl_url = "http://crl.example.com/owner.crl"')


async def test_each_list_is_where_its_settings_say(tmp_path: Path) -> None:
    """Two paths, two files, two signatures, one row of numbers; openssl takes each under its CA."""
    files = laid_out(tmp_path, MAIN + PROFILE + ITS_LIST)
    curl = (require_program("curl", "curl"), "--silent", "--show-error", "--max-time", "20")
    async with served(files) as site:
        assert set(site.opened.crls) == {"crl", "crl iot"}
        for name in ("crl", "crl iot"):
            await site.opened.crls[name].keeper.refresh()
        for name in ("owner", "iot"):
            url = f"{site.url}/pki/{name}.crl".replace("127.0.0.1", "localhost")
            got = await files.run(*curl, "--cacert", "root.pem", url)
            assert got.out == (tmp_path / f"{name}.crl").read_bytes()
            said = await files.run(
                *(require_program("openssl", "openssl"), "crl", "-inform", "DER", "-noout"),
                *("-CAfile", f"{name}.pem", "-in", f"{name}.crl"),
            )
            assert "verify OK" in said.err
        findings = {each.name for each in await site.opened.readiness.findings()}
        assert {"ca", "ca iot", "crl", "crl iot"} <= findings


def test_a_profiles_certificate_leads_to_its_own_list(tmp_path: Path) -> None:
    """Its distribution point is that of its CA; by that CA's list openssl judges it."""
    files = laid_out(tmp_path, MAIN + PROFILE + ITS_LIST)
    asyncio.run(SQLiteJournal(tmp_path / "registrar.db").close())
    assert main(["ca", "crl", "--label", "iot", "-s", str(files.settings)]) == 0
    assert main(["ca", "crl", "-s", str(files.settings)]) == 0
    table = tomllib.loads(files.settings.read_text())["est"]["profile"][0]["ca"]
    leaf = asyncio.run(issued(open_adapter(CA_BACKENDS, table, source=files.settings, where="ca")))
    (point,) = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    assert point.full_name[0].value == "http://crl.example.com/iot.crl"
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))

    def verified(listed: str) -> int:
        crl = x509.load_der_x509_crl((tmp_path / listed).read_bytes())
        (tmp_path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
        return subprocess.run(
            [
                *(require_program("openssl", "openssl"), "verify", "-crl_check"),
                *("-CRLfile", "crl.pem", "-CAfile", "iot.pem", "leaf.pem"),
            ],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        ).returncode

    assert verified("iot.crl") == 0
    assert verified("owner.crl") != 0


async def issued(ca: CABackend) -> x509.Certificate:
    asked = LDevIDRequest(
        idevid_issuer=bytes(20),
        serial_number="SN-1",
        csr=b"",
        public_key=pki.make_key().public_key(),
        subject=ldevid_subject("SN-1", bytes(20)),
    )
    made = await ca.complete(ca.prepare(asked, now=datetime.now(UTC) - timedelta(hours=1)))
    assert isinstance(made, x509.Certificate)
    return made


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (MAIN + PROFILE + '[est.profile.crl]\npath = "/pki/owner.crl"\n', "the path"),
        (MAIN + PROFILE + '[est.profile.crl]\nfile = "owner.crl"\n', "the file"),
        ('[[est.profile]]\nlabel = "iot"\n' + ITS_LIST, "without a ca"),
        (MAIN + PROFILE.replace("iot.crl", "owner.crl") + ITS_LIST, "two CAs"),
    ],
)
def test_lists_that_would_be_taken_for_each_other(tmp_path: Path, more: str, said: str) -> None:
    """One path, file or address for two lists, or a list of nobody's."""
    files = laid_out(tmp_path, more)
    with pytest.raises(SettingsError, match=said):
        load_settings(files.settings, RegistrarSettings)


def warned(caplog: pytest.LogCaptureFixture) -> bool:
    return "are in no revocation list" in caplog.text


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (MAIN + PROFILE, True),
        (MAIN + PROFILE + ITS_LIST, False),
        (PROFILE, False),  # nothing is listed here at all
    ],
)
async def test_a_ca_without_a_list_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, more: str, expected: bool
) -> None:
    """Where others are listed, an operator will believe that its certificates are, too."""
    files = laid_out(tmp_path, more)
    settings = load_settings(files.settings, RegistrarSettings)
    await open_registrar(settings, source=files.settings).close()
    assert warned(caplog) is expected


async def test_a_profile_may_use_the_ca_of_all_with_other_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The list of [ca] covers it; a list of its own would be a second one of the same CA."""
    same = PROFILE.replace("iot.key", "owner.key").replace("iot.pem", "owner.pem")
    same = same.replace("iot.crl", "owner.crl")
    files = laid_out(tmp_path, MAIN + same)
    settings = load_settings(files.settings, RegistrarSettings)
    await open_registrar(settings, source=files.settings).close()
    assert not warned(caplog)
    files.settings.write_text(files.settings.read_text() + ITS_LIST)
    settings = load_settings(files.settings, RegistrarSettings)
    with pytest.raises(SettingsError, match="crl iot and crl are lists of one CA"):
        open_registrar(settings, source=files.settings)


async def test_lists_of_one_address_share_it(tmp_path: Path) -> None:
    """Plain HTTP for both, with both paths, and no third."""
    here = 'listen = "127.0.0.1:0"\n'
    files = laid_out(tmp_path, MAIN + here + PROFILE + ITS_LIST + here)
    settings = load_settings(files.settings, RegistrarSettings)
    registrar = open_registrar(settings, source=files.settings)
    opened = listeners_of(registrar, settings.listen)
    assert [each.name for each in opened] == ["pledges", "crl"]
    async with serving(opened) as addresses:
        for crl in registrar.crls.values():
            await crl.keeper.refresh()
        curl = (
            require_program("curl", "curl"),
            "--silent",
            "--output",
            "body",
            "-w",
            "%{http_code}",
        )
        for path, code in (("owner", b"200"), ("iot", b"200"), ("other", b"404")):
            url = f"http://{addresses['crl']}/pki/{path}.crl"
            assert (await files.run(*curl, url)).out == code


def test_a_list_that_there_is_not_cannot_be_signed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could have been meant is told."""
    files = laid_out(tmp_path, PROFILE + ITS_LIST)
    for label in ([], ["--label", "other"]):
        assert main(["ca", "crl", *label, "-s", str(files.settings)]) == 2
        assert "--label iot" in capsys.readouterr().err
