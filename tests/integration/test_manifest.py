"""A site without a line to the manufacturer: a manifest is made and loaded, and devices come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.edge.cli import DONE, MISUSE, REFUSED
from brski.errors import DeviceRevoked, DeviceUnknown, Unavailable
from brski.pki.keys import spki_of
from oem_backend.cli import main as brski_oem
from oem_backend.database.marks import Verdict, add_mark, device_subject
from oem_backend.database.opening import as_place, open_reader
from registrar_plugin.cli import main as brski_registrar
from registrar_plugin.oem_source.lookup import CachedLookup
from registrar_plugin.oem_source.manifest import ManifestSource
from tests.kit import oem, pki
from tests.kit.manifest import OWNER
from tests.kit.world import Device, World, make_world


class Site:
    """The manufacturer's desk and the owner's, in one folder, with nothing between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.factory = oem.Factory()
        self.copy = folder / "acme-manifests.db"
        key = pki.make_key()
        entity = pki.Entity(certificate=self.factory.issuer.certificate, private_key=key)
        (folder / "manifest.key").touch(0o600)
        (folder / "manifest.key").write_bytes(entity.key_pem)
        self.write_public("manifest.pem", key.public_key())
        self.write_public("factory-1.pem", self.factory.signer.public_key)
        self.configure_oem()
        self.configure_registrar()

    def write_public(self, name: str, key: object) -> None:
        (self.folder / name).write_bytes(
            key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]  # any public key
        )

    def configure_oem(self) -> None:
        (self.folder / "oem.toml").write_text(
            '[[database.factory]]\nname = "factory-1"\nkey = "factory-1.pem"\n'
            '[database.manifest]\nname = "example-oem"\nkey = "manifest.key"\n'
        )

    def configure_registrar(self) -> None:
        for name in ("registrar.key", "registrar.pem", "root.pem"):
            (self.folder / name).touch()
        (self.folder / "registrar.toml").write_text(
            '[registrar]\nkey = "registrar.key"\nchain = "registrar.pem"\n[ca]\nkind = "embedded"\n'
            '[[manufacturer]]\nname = "acme"\nanchors = "root.pem"\n[manufacturer.source]\n'
            'kind = "manifest"\npath = "acme-manifests.db"\n'
            f'owner = "{OWNER}"\nsigner = "example-oem"\nkey = "manifest.pem"\n'
            '[[manufacturer]]\nname = "bolt"\nanchors = "root.pem"\n'
        )

    @property
    def database(self) -> Path:
        return self.folder / "devices.db"

    def make(self, *serial_numbers: str, order: str = "7", **options: object) -> int:
        """``brski-oem manifest``."""
        (self.folder / "order.txt").write_text("# order\n" + "\n".join(serial_numbers) + "\n")
        words = [
            *(str(self.folder / "order.txt"), "--order", order),
            *("--owner", str(options.pop("owner", OWNER)), "--out", str(self.folder / "m")),
            *("-s", str(self.folder / "oem.toml")),
        ]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return brski_oem(["manifest", *words])

    def load(self, manufacturer: str = "acme", *more: str) -> int:
        """``brski-registrar load-manifest``."""
        return brski_registrar(
            [
                *("load-manifest", str(self.folder / "m"), "--manufacturer", manufacturer),
                *("-s", str(self.folder / "registrar.toml"), *more),
            ]
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def shipped(site: Site, world: World, serial_number: str) -> Device:
    """An asserting device, on the manufacturer's record and in its MASA's."""
    device = world.make_device(serial_number, asserting=True, issuer=world.oem)
    made = oem.Made(
        serial_number=serial_number,
        private_key=device.entity.private_key,
        certificate=device.entity.der,
        issuer=device.issuer,
    )
    factory = oem.Factory(world.oem)
    factory.signer, factory.keys = site.factory.signer, site.factory.keys
    factory.load(site.database, [made], build_list_digest=serial_number.encode().ljust(32))
    return device


@pytest.mark.requirement("OEM-10")
async def test_a_device_is_onboarded_by_a_manifest_alone(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """No service of the manufacturer's is there; the record comes out of what was carried over.

    A device of another order is unknown. One that was marked before the manifest was made is
    refused; one that is marked later is, once the next manifest is loaded.
    """
    source = ManifestSource(site.copy)
    lookup = CachedLookup({"acme": source}, clock=time.monotonic)
    async with make_world(site.folder, lookup=lookup) as world:
        devices = [shipped(site, world, name) for name in ("SN-1", "SN-2", "SN-3")]
        with pytest.raises(Unavailable):
            await world.onboard(devices[0])
        assert site.make("SN-1", "SN-2", generation=1) == DONE
        assert "2 record(s), 0 of them marked; generation 1" in capsys.readouterr().out
        assert site.load() == DONE
        assert capsys.readouterr().out == "loaded: 2 record(s), 0 new mark(s)\n"
        issued = await world.onboard(devices[0])
        assert isinstance(issued, x509.Certificate)
        assert spki_of(issued) != spki_of(devices[0].entity.certificate)
        with pytest.raises(DeviceUnknown):
            await world.onboard(devices[2])
        stolen(site, "SN-2")
        assert site.make("SN-1", "SN-2", generation=2) == DONE
        assert site.load("acme", "--json") == DONE
        told = json.loads(capsys.readouterr().out.split("\n", 1)[1])
        assert told == {"outcome": "loaded", "records": 2, "marks": 1}
        with pytest.raises(DeviceRevoked):
            await world.onboard(devices[1])
    await lookup.close()


def stolen(site: Site, serial_number: str) -> None:
    reader = open_reader(site.database)
    (record,) = reader.find(None, serial_number)
    reader.close()
    subject = device_subject(record)
    with closing(as_place(site.database).open_to_write()) as session:
        assert add_mark(session, subject, Verdict.REVOKED, "stolen", by="anna", now=pki.NOW)


def test_what_a_person_is_told(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Each refusal with its exit status, its reason, and nothing written."""
    site.factory.load(site.database, [site.factory.make(name) for name in ("SN-1", "SN-2")])
    refusals: list[tuple[Callable[[], int], int, str]] = [
        (lambda: site.make("SN-9"), REFUSED, "knows no device SN-9"),
        (lambda: site.make("SN-1", "SN-1"), REFUSED, "comes twice"),
        (lambda: site.make(), REFUSED, "names no device"),
        (lambda: site.make("SN-1 "), REFUSED, "line 2"),
        (lambda: site.make("SN-1@xyz"), REFUSED, "40 hex digits"),
        (lambda: site.make("SN-1", owner=" "), REFUSED, "owner"),
    ]
    for attempt, code, said in refusals:
        assert attempt() == code
        assert said in capsys.readouterr().err
        assert not (site.folder / "m").exists()
    issuer = site.factory.idevid_issuer.hex()
    assert site.make(f"SN-1@{issuer}", created="2026-01-02T03:04:05Z", valid_days=3660) == DONE
    first = (site.folder / "m").read_bytes()
    assert site.make(f"SN-1@{issuer}", created="2026-01-02T03:04:05Z", valid_days=3660) == DONE
    assert (site.folder / "m").read_bytes() == first
    capsys.readouterr()
    assert site.load("bolt") == MISUSE
    assert "source of kind manifest" in capsys.readouterr().err
    assert site.load("nobody") == MISUSE
    (site.folder / "m").write_bytes(first[:-1])
    assert site.load() == REFUSED
    assert not site.copy.exists()
    capsys.readouterr()
    assert site.make("SN-1", owner="Another Owner") == DONE
    assert site.load() == REFUSED
    assert "is for 'Another Owner'" in capsys.readouterr().err
    (site.folder / "oem.toml").write_text("[database]\n")
    assert site.make("SN-1") == MISUSE
    assert "database.manifest: missing" in capsys.readouterr().err


def test_two_issuers_devices_are_told_apart(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """One serial number of two issuers has to be said which."""
    other = oem.Factory(pki.make_pki("Another OEM"))
    other.signer, other.keys = site.factory.signer, site.factory.keys
    site.factory.load(site.database, [site.factory.make("SN-1")])
    other.load(site.database, [other.make("SN-1")], product="Other Pump")
    assert site.make("SN-1") == REFUSED
    assert "2 devices have the serial number SN-1" in capsys.readouterr().err
    both = [f"SN-1@{each.idevid_issuer.hex()}" for each in (site.factory, other)]
    assert site.make(*both) == DONE
    assert site.load() == DONE
