"""Registrars announce themselves, pledges hear of them: multicast DNS in a network of its own."""

from __future__ import annotations

import asyncio
import struct
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from brski.errors import SettingsError, Unavailable
from brski.idevid.record import Presentation
from brski.registry import MDNS_PROXY, MDNS_REGISTRAR
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import set_stage
from device_client.discovery.port import FOUND_LIMIT
from device_client.identity.from_seed import write_fuse
from device_client.pledge.origin import Origin
from device_client.pledge.states import Answer, Result
from tests.integration.pledge_desk import ALL, REFUSED_404, Desk, desk, registrar
from tests.kit import device, dns, pki
from tests.kit.network import own_network, second_host
from tests.kit.programs import require_library
from tests.kit.staged import registrar as serving_program
from tests.kit.stub_registrar import StubRegistrar

require_library("zeroconf", extra="mdns")

from device_client.discovery.mdns import MDNSDiscovery  # noqa: E402 - needs the library
from registrar_plugin.discovery.mdns import MDNSAnnouncer  # noqa: E402

__all__ = ["desk", "registrar"]

LOOPBACK = "127.0.0.1"
PROGRAM = "from device_client.cli import main; raise SystemExit(main())"


@pytest.fixture
def lan() -> Iterator[str]:
    with own_network() as address:
        yield address


def at_loopback(window_s: float = 2.5) -> MDNSDiscovery:
    return MDNSDiscovery((LOOPBACK,), window_s)


async def heard(least: int = 1) -> tuple[Origin, ...]:
    """What is there once that many are: a responder may hold an answer back for a second."""
    for _ in range(10):
        if len(found := await at_loopback().look()) >= least:
            break
    return found


def announcer(name: str | None = "first floor") -> MDNSAnnouncer:
    return MDNSAnnouncer(name, (LOOPBACK,))


# -- what the registrar says


async def asked(address: str, name: str, kind: int) -> dns.Answer:
    """A question by hand, and the answer read by hand."""
    loop = asyncio.get_running_loop()
    with dns.asking_socket(address) as sock:
        await loop.sock_sendto(sock, dns.question(name, kind), dns.GROUP)
        async with asyncio.timeout(5):
            return dns.parse(await loop.sock_recv(sock, 9000))


@pytest.mark.requirement("DIS-3")
async def test_the_announcement_is_read_by_another_implementation(lan: str) -> None:
    """PTR to the instance, SRV with the port that is listened on, the address, a TXT of nothing."""
    async with MDNSAnnouncer("first floor", ()).announcing(str(IPv4Address(0)), 41443):
        found = await asked(lan, MDNS_REGISTRAR, dns.PTR)
        instance = f"first floor.{MDNS_REGISTRAR}"
        assert found.pointers == {MDNS_REGISTRAR: [instance]}
        service = await asked(lan, instance, dns.SRV)
    port, host = service.services[instance]
    assert port == 41443
    assert host.endswith(".local.")
    addresses = {**found.addresses, **service.addresses}[host]
    assert lan in addresses
    assert LOOPBACK not in addresses


async def test_two_on_one_host_are_told_apart(lan: str) -> None:
    """Their names have the port in them, unless the operator gives others."""
    both = announcer(None).announcing(LOOPBACK, 1), announcer(None).announcing(LOOPBACK, 2)
    async with both[0], both[1]:
        assert set(await heard(2)) == {Origin(LOOPBACK, 1), Origin(LOOPBACK, 2)}


async def test_at_the_end_it_takes_its_word_back(lan: str) -> None:
    """A record with no life left, so that nobody waits for the old one to expire."""
    loop = asyncio.get_running_loop()
    with dns.group_socket(LOOPBACK) as sock:
        async with announcer().announcing(LOOPBACK, 41443):
            pass
        lives: list[int] = []
        async with asyncio.timeout(5):
            while not lives:
                packet = await loop.sock_recv(sock, 9000)
                if packet[2] & 0x80 and dns.parse(packet).pointers:
                    name = dns.encode_name(MDNS_REGISTRAR)
                    at = packet.index(name) + len(name) + 4
                    (life,) = struct.unpack_from("!I", packet, at)
                    lives += [life] if life == 0 else []
    assert lives == [0]


# -- what the pledge hears


async def test_nobody_is_nobody(lan: str) -> None:
    """And soon."""
    began = asyncio.get_running_loop().time()
    assert await at_loopback(0.3).look() == ()
    assert asyncio.get_running_loop().time() - began < 3


async def test_a_device_without_a_network_says_so() -> None:
    """An address that is not its own cannot be listened at."""
    with pytest.raises(Unavailable, match="no network"):
        await MDNSDiscovery(("198.51.100.200",), 0.1).look()


@pytest.mark.requirement("DIS-3", "DIS-7")
async def test_a_pledge_finds_its_registrar_and_joins(
    lan: str, desk: Desk, registrar: StubRegistrar
) -> None:
    """It was told of nobody; the announced port takes TLS, BRSKI and EST."""
    async with registrar.serving(), announcer().announcing(LOOPBACK, registrar.port):
        outcome = await desk.onboard(discovery=at_loopback(), rounds=10)
    assert (outcome.result, outcome.registrar) == (Result.ENROLLED, registrar.origin)
    assert registrar.paths() == ALL


@asynccontextmanager
async def saying(*packets: bytes, every_s: float = 0.1) -> AsyncIterator[None]:
    """A stranger that tells the group so, again and again."""
    loop = asyncio.get_running_loop()
    with dns.group_socket(LOOPBACK) as sock:

        async def speak() -> None:
            while True:
                for packet in packets:
                    await loop.sock_sendto(sock, packet, dns.GROUP)
                await asyncio.sleep(every_s)

        speaking = asyncio.create_task(speak())
        try:
            yield
        finally:
            speaking.cancel()


@pytest.mark.requirement("DIS-3")
async def test_a_proxy_is_found_too(lan: str) -> None:
    """By its own name, as another implementation announces it."""
    packet = dns.answer(*dns.instance(MDNS_PROXY, "proxy", 5000, LOOPBACK))
    async with saying(packet):
        assert await heard() == (Origin(LOOPBACK, 5000),)


@pytest.mark.requirement("DIS-8", "PL-33")
async def test_when_all_have_failed_it_listens_again(
    lan: str, desk: Desk, registrar: StubRegistrar
) -> None:
    """An impostor refuses; in the next round the right one has come, and is tried."""
    refusing = StubRegistrar(registrar.world)
    refusing.script("requestvoucher", REFUSED_404)
    looks = [0]

    class Rounds:
        async def look(self) -> tuple[Origin, ...]:
            looks[0] += 1
            return (refusing.origin,) if looks[0] == 1 else (refusing.origin, registrar.origin)

    async with refusing.serving(), registrar.serving():
        outcome = await desk.onboard(discovery=Rounds(), rounds=2, first_delay_s=30)
    assert outcome.registrar == registrar.origin
    assert looks == [2]
    assert len(refusing.heard) == 1
    assert all(3 <= pause <= 5 for pause in desk.slept)


@pytest.mark.requirement("DIS-8")
async def test_with_nobody_there_it_goes_on_listening(desk: Desk, lan: str) -> None:
    """As often as it has rounds; then it says so."""
    with pytest.raises(Unavailable, match="nobody announces"):
        await desk.onboard(discovery=at_loopback(0.2), rounds=2)
    assert desk.slept == [10]


async def test_no_back_off_is_sat_out_without_listening(
    desk: Desk, registrar: StubRegistrar, lan: str
) -> None:
    """A registrar asks for an hour; another may come in the meantime."""
    refusing = StubRegistrar(registrar.world)
    refusing.script("requestvoucher", *[Answer(status=503, retry_after_s=3600)] * 2)
    looks = iter(range(3))

    class Rounds:
        async def look(self) -> tuple[Origin, ...]:
            return (refusing.origin, registrar.origin)[: 1 + next(looks) // 2]

    async with refusing.serving(), registrar.serving():
        outcome = await desk.onboard(discovery=Rounds(), rounds=3)
    assert outcome.result is Result.ENROLLED
    assert desk.slept[0] == 60
    assert len(desk.slept) == 2


async def test_the_programs_find_each_other(lan: str, tmp_path: Path) -> None:
    """`[discovery]` on both sides: the pledge's settings name no registrar."""
    async with Children(tmp_path / "logs") as children:
        ordered = Ordered(serial_number="SN-0001", presentation=Presentation.ASSERTED)
        stage = await set_stage(tmp_path, children, [ordered])
        await children.end("brski-registrar")
        with stage.registrar_settings.open("a") as settings:
            settings.write(f'[discovery]\nmdns = true\ninterfaces = ["{LOOPBACK}"]\n')
        pledge = tmp_path / "pledge.toml"
        pledge.write_text(
            f'keystore = "{tmp_path / "found"}"\n'
            f'[identity]\nkind = "fuse"\nfile = "{stage.fuse_path("SN-0001")}"\n'
            f'[discovery]\nkind = "mdns"\ninterfaces = ["{LOOPBACK}"]\n'
            "[timing]\nrounds = 5\n"
        )
        async with serving_program(stage) as origin:
            found = await output_of("discover", "-s", pledge)
            told = await output_of("onboard", "-s", pledge)
    assert found == f"{origin}\n"
    assert "enrolled (enrolled)" in told


@pytest.mark.requirement("DIS-3")
async def test_two_hosts_find_each_other(lan: str, tmp_path: Path) -> None:
    """With no address in any settings: over a cable, at whatever interfaces there are."""
    write_fuse(tmp_path / "device.fuse", device.make_fuse(pki.make_pki(), pki.make_root()))
    pledge = tmp_path / "pledge.toml"
    pledge.write_text(
        '[identity]\nkind = "fuse"\nfile = "device.fuse"\n[discovery]\nkind = "mdns"\n'
    )
    with second_host() as there:
        async with MDNSAnnouncer(None, ()).announcing(str(IPv4Address(0)), 41443):
            found = await output_of("discover", "-s", pledge, before=there)
    assert found == f"https://{lan}:41443\n"


@pytest.mark.parametrize("name", ["bell \x07", "\u00e9" * 60])
async def test_a_name_that_cannot_be_announced_is_told(lan: str, name: str) -> None:
    """Control characters, and more octets than a label holds."""
    with pytest.raises(SettingsError, match="discovery"):
        async with announcer(name).announcing(LOOPBACK, 41443):
            pass


async def test_an_address_that_is_not_ours_is_told(lan: str) -> None:
    """When the registrar starts, and not by silence later."""
    with pytest.raises(SettingsError, match="mdns"):
        async with MDNSAnnouncer("x", ("198.51.100.200",)).announcing(LOOPBACK, 41443):
            pass


async def output_of(*arguments: object, before: tuple[str, ...] = ()) -> str:
    process = await asyncio.create_subprocess_exec(
        *(
            *before,
            sys.executable,
            "-c",
            "from device_client.cli import main; raise SystemExit(main())",
        ),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return out.decode()


# -- hostile answers


def pointer_loop() -> bytes:
    """A name that points at itself."""
    return dns.answer(dns.record(b"\xc0\x0c", dns.PTR, b"\xc0\x0c"))


def long_chain() -> bytes:
    """A name of a thousand hops."""
    hops = b"".join(struct.pack("!H", 0xC000 | (12 + 2 * n + 2)) for n in range(1000))
    return dns.answer(dns.record(hops + b"\0", dns.PTR, b"\xc0\x0c"))


def crowd(first: int) -> bytes:
    """Forty instances in a packet."""
    records = [
        record
        for n in range(first, first + 40)
        for record in dns.instance(MDNS_REGISTRAR, f"r{n}", 1024 + n, LOOPBACK)
    ]
    return dns.answer(*records)


HOSTILE = {
    "a loop": [pointer_loop()],
    "a chain": [long_chain()],
    "octets": [bytes(range(256)) * 30],
    "a count that lies": [dns.answer(*dns.instance(MDNS_REGISTRAR, "x", 1, LOOPBACK), count=60000)],
    "cut": [dns.answer(*dns.instance(MDNS_REGISTRAR, "x", 1, LOOPBACK))[:-30]],
    "a name that is none": [
        dns.answer(dns.record(dns.encode_name(MDNS_REGISTRAR), dns.PTR, b"\x01\xff\0"))
    ],
    "port 0": [dns.answer(*dns.instance(MDNS_REGISTRAR, "zero", 0, LOOPBACK))],
    "another service": [dns.answer(*dns.instance("_http._tcp.local.", "web", 80, LOOPBACK))],
    "nothing but a name": [
        dns.answer(
            dns.record(
                dns.encode_name(MDNS_REGISTRAR),
                dns.PTR,
                dns.encode_name(f"ghost.{MDNS_REGISTRAR}"),
            )
        )
    ],
}


@pytest.mark.requirement("PL-4")
@pytest.mark.parametrize("packets", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_answers_hide_nobody(lan: str, packets: list[bytes]) -> None:
    """An honest registrar beside them is found, and nothing else."""
    async with saying(*packets, every_s=0.02), announcer().announcing(LOOPBACK, 8443):
        assert await heard() == (Origin(LOOPBACK, 8443),)


@pytest.mark.requirement("PL-4")
async def test_a_crowd_is_bounded(lan: str) -> None:
    """Two thousand instances, again and again: so many places, and so much memory."""
    packets = [crowd(first) for first in range(0, 2000, 40)]
    tracemalloc.start()
    try:
        async with saying(*packets, every_s=0.05):
            found = await heard(FOUND_LIMIT)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == FOUND_LIMIT
    assert peak < 64 * 1024 * 1024
