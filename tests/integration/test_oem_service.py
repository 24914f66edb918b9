"""The OEM's service over real TLS: what registrars, strangers and other programs get of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brski.edge.tls_client import https_client_context
from brski.errors import Unavailable
from brski.idevid.record import DeviceStatus
from brski.idevid.record_json import decode_records
from brski.pki.names import ldevid_subject
from brski.registry import ID_KP_CLIENT_AUTH
from oem_backend.database.opening import open_reader
from oem_backend.database.query import encode_base64url
from registrar_plugin.oem_source.http import HTTPSource
from tests.kit import oem, pki
from tests.kit.oem_service import Curl, Desk, Reply, Service
from tests.kit.programs import require_program


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """SN-1 and SN-2, one of them revoked; SN-3 under two issuers."""
    desk = Desk(tmp_path_factory.mktemp("oem"))
    names = [f"SN-{number}" for number in range(1, 4)]
    desk.load([desk.factory.make(name) for name in names])
    second = oem.Factory()
    second.load(desk.database, [second.make("SN-3")], product="Another")
    assert desk.run("mark", "SN-2", "--revoked", "--reason", "stolen").returncode == 0
    return desk


@pytest.fixture(scope="module")
def service(desk: Desk) -> Iterator[Service]:
    with Service(desk) as running:
        yield running


@pytest.fixture
def curl(desk: Desk, service: Service) -> Curl:
    return Curl(program=require_program("curl", "curl"), desk=desk, service=service)


@pytest.fixture
def own(tmp_path: Path) -> Desk:
    """A desk that a test may change."""
    return Desk(tmp_path)


def curl_to(desk: Desk, service: Service) -> Curl:
    return Curl(program=require_program("curl", "curl"), desk=desk, service=service)


def stored(desk: Desk, serial_number: str) -> tuple[object, ...]:
    reader = open_reader(desk.database)
    found = reader.find(None, serial_number)
    reader.close()
    return found


# -- what a registrar gets


def test_a_registrar_gets_a_device(desk: Desk, curl: Curl) -> None:
    reply = curl.device("SN-1")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "private, no-cache"
    assert reply.headers["etag"] == f'"{hashlib.sha256(reply.body).hexdigest()}"'
    assert decode_records(reply.body) == stored(desk, "SN-1")
    assert json.loads(reply.body)["devices"][0]["serial_number"] == "SN-1"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_both_versions_of_tls_are_spoken(curl: Curl, version: str) -> None:
    reply = curl.get("/v1/devices/SN-1", f"--tlsv{version}", "--tls-max", version)
    assert reply.status == 200


def test_a_revoked_device_is_told_as_revoked(curl: Curl) -> None:
    (record,) = decode_records(curl.device("SN-2").body)
    assert (record.status, record.status_reason) == (DeviceStatus.REVOKED, "stolen")


def test_namesakes_come_together_or_by_issuer(desk: Desk, curl: Curl) -> None:
    assert len(decode_records(curl.device("SN-3").body)) == 2
    issuer = encode_base64url(desk.factory.idevid_issuer)
    (record,) = decode_records(curl.device("SN-3", f"?idevid_issuer={issuer}").body)
    assert record.idevid_issuer == desk.factory.idevid_issuer


def test_the_devices_key_narrows(curl: Curl) -> None:
    one, other = decode_records(curl.device("SN-3").body)
    digest = encode_base64url(hashlib.sha256(other.spki).digest())
    assert decode_records(curl.device("SN-3", f"?spki_sha256={digest}").body) == (other,)
    both = f"?spki_sha256={digest}&idevid_issuer={encode_base64url(one.idevid_issuer)}"
    assert curl.device("SN-3", both).status == 404


def test_what_one_has_is_not_sent_again(curl: Curl) -> None:
    etag = curl.device("SN-1").headers["etag"]
    for sent in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        reply = curl.get("/v1/devices/SN-1", "--header", f"If-None-Match: {sent}")
        assert (reply.status, reply.body) == (304, b""), sent
        assert reply.headers["etag"] == etag
        assert reply.headers["cache-control"] == "private, no-cache"
    for sent in ('"other"', etag.strip('"'), "nonsense"):
        reply = curl.get("/v1/devices/SN-1", "--header", f"If-None-Match: {sent}")
        assert reply.status == 200, sent


# -- what a registrar does not get


def test_all_that_is_not_there_is_the_same_404(curl: Curl) -> None:
    """Who asks learns nothing of serial numbers, issuers, keys or paths."""
    nothing = encode_base64url(bytes(20))
    targets = [
        "/v1/devices/SN-9",  # unknown
        f"/v1/devices/SN-1?idevid_issuer={nothing}",  # of another issuer
        f"/v1/devices/SN-1?spki_sha256={encode_base64url(bytes(32))}",  # another key
        f"/v1/devices/SN-9?spki_sha256={encode_base64url(bytes(32))}",
        "/v1/devices/sn-1",
        "/v1/devices/",  # no listing
        "/v1/devices",
        "/v1/",
        "/",
        "/v1/devices/SN-1/certificate",
    ]
    replies = [curl.get(target) for target in targets]
    assert {reply.status for reply in replies} == {404}
    assert {str(reply.without_date) for reply in replies} == {str(replies[0].without_date)}
    assert replies[0].body == b""


HOSTILE = [
    "%00",
    "SN-1%00",
    "SN-1%0a",
    "SN-1%0d%0aSet-Cookie:%20x",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%2fSN-1",
    "SN-1%20",
    "SN%25",
    "%25",
    "*",
    "SN-*",
    "'%20OR%201=1--",
    "%c0%af",
    "%ff%fe",
    "%ef%bc%b3%ef%bc%ae-1",
    "S%CC%88N-1",
    "x" * 65,
    "x" * 4000,
    "%",
    "%zz",
    "SN-1;a=b",
    "{SN-1}",
    "$(reboot)",
]


@pytest.mark.parametrize("serial_number", HOSTILE)
def test_a_hostile_serial_number_is_refused_before_any_look_up(
    curl: Curl, service: Service, serial_number: str
) -> None:
    before = len(service.log())
    reply = curl.device(serial_number)
    assert reply.status == 400
    assert len(reply.body) < 300
    said = service.log()[before:]
    assert "Traceback" not in said
    assert "outcome=malformed" in said
    assert all(character.isprintable() or character == "\n" for character in said)


@pytest.mark.parametrize("target", ["/v1/devices/.", "/v1/devices/..", "/v1/devices/../devices/"])
def test_dots_lead_nowhere(curl: Curl, target: str) -> None:
    assert curl.get(target).status == 404


@pytest.mark.parametrize("query", ["?", "?a", "?idevid_issuer=", "?idevid_issuer=AA&x=1", "?*"])
def test_another_query_is_refused(curl: Curl, query: str) -> None:
    assert curl.device("SN-1", query).status == (200 if query == "?" else 400)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_there_is_one_method(curl: Curl, method: str) -> None:
    options = ["--head"] if method == "HEAD" else []
    reply = curl.get("/v1/devices/SN-1", *options, method=method)
    assert (reply.status, reply.headers["allow"], reply.body) == (405, "GET", b"")


# -- who is no registrar


def _strangers(desk: Desk) -> dict[str, pki.Entity]:
    return {
        "another-ca": pki.make_registrar(pki.make_pki("Example Owner")),
        "self-signed": pki.make_registrar(None),
        "expired": pki.make_registrar(desk.owner, not_before=pki.BEFORE, not_after=pki.NOT_BEFORE),
        "a-device-of-the-owner": pki.certify(
            ldevid_subject("SN-1", desk.factory.idevid_issuer),
            issuer=desk.owner,
            ekus=[ID_KP_CLIENT_AUTH],
            key_usage=pki.LEAF_KEY_USAGE,
        ),
        "a-device-of-the-oem": pki.make_idevid(desk.factory.issuer, "SN-1"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "another-ca",
        "self-signed",
        "expired",
        "a-device-of-the-owner",
        "a-device-of-the-oem",
        None,  # no certificate
    ],
)
def test_a_stranger_learns_nothing(
    desk: Desk, service: Service, curl: Curl, name: str | None
) -> None:
    if name is not None:
        desk.write(name, _strangers(desk)[name])
    replies = [
        curl.get(target, who=name)
        for target in ("/v1/devices/SN-1", "/v1/devices/SN-9", "/v1/devices/%00", "/", "/v1/x")
    ]
    assert {reply.status for reply in replies} == {403}
    assert {str(reply.without_date) for reply in replies} == {str(replies[0].without_date)}
    assert replies[0].body == b""


# -- one line for each query


def test_every_query_is_one_line(curl: Curl, desk: Desk, service: Service) -> None:
    before = len(service.log())
    etag = curl.device("SN-1").headers["etag"]
    curl.get("/v1/devices/SN-1", "--header", f"If-None-Match: {etag}")
    curl.device("SN-9")
    curl.device("SN-1", f"?spki_sha256={encode_base64url(bytes(32))}")
    curl.device("SN%201")
    lines = [line for line in service.log()[before:].splitlines() if "device asked for" in line]
    outcomes = [line.rpartition("outcome=")[2] for line in lines]
    assert outcomes == ["found", "not-modified", "unknown", "other-key", "malformed"]
    assert all("registrar=CN=registrar.example.com" in line for line in lines)
    assert all(f"serial_number=SN-{n}" in line for n, line in zip("1191", lines, strict=False))


# -- what changes while it serves


def test_a_mark_shows_in_the_next_answer(own: Desk) -> None:
    own.load([own.factory.make("SN-1")])
    with Service(own) as service:
        curl = curl_to(own, service)
        before = curl.device("SN-1")
        assert own.run("mark", "SN-1", "--flagged", "--reason", "clone-suspected").returncode == 0
        after = curl.get("/v1/devices/SN-1", "--header", f"If-None-Match: {before.headers['etag']}")
    assert after.status == 200
    (record,) = decode_records(after.body)
    assert (record.status, record.status_reason) == (DeviceStatus.FLAGGED, "clone-suspected")


@asynccontextmanager
async def asking(
    desk: Desk, service: Service, *, who: str = "registrar", **others: bool
) -> AsyncIterator[HTTPSource]:
    """The registrar's own client of the service."""
    context = https_client_context(
        [desk.service_root.certificate],
        client_chain=desk.folder / f"{who}.pem",
        client_key=desk.folder / f"{who}.key",
    )
    source = HTTPSource(service.base_url, context, **others)
    try:
        yield source
    finally:
        await source.close()


async def test_a_load_in_another_process_disturbs_no_query(own: Desk) -> None:
    """Readers see the state before until the commit, whole, and wait for nothing."""
    own.configure("queries_per_s = 100000\nburst = 100000\n")
    own.load([own.factory.make("SN-0000")])
    names = [f"SN-{number:04}" for number in range(1, 2001)]
    path = own.bundle([own.factory.make(name) for name in names])
    with Service(own) as service:
        async with asking(own, service) as source:
            loading = asyncio.create_task(asyncio.to_thread(own.run, "load", path))
            slowest = 0.0
            seen: list[bool] = []
            while not loading.done():
                started = time.monotonic()
                assert len(await source.find(None, "SN-0000", spki_sha256=bytes(32))) == 1
                first = await source.find(None, names[0], spki_sha256=bytes(32))
                last = await source.find(None, names[-1], spki_sha256=bytes(32))
                assert len(first) <= len(last)  # whole: the one asked later is not less there
                seen.append(bool(first))
                slowest = max(slowest, time.monotonic() - started)
            done = await loading
            assert done.returncode == 0, done.stderr
            assert len(await source.find(None, names[-1], spki_sha256=bytes(32))) == 1
    assert seen[0] is False
    assert seen == sorted(seen)
    assert len(seen) > 20
    assert slowest < 2


async def test_a_registrars_own_client_asks_it(own: Desk) -> None:
    device, other = own.factory.make("SN-1"), own.factory.make("SN-2")
    own.load([device, other])
    own.write("stranger", pki.make_registrar(pki.make_pki("Example Owner")))
    with Service(own) as service:
        digest = device.spki_sha256
        async with asking(own, service) as source:
            for _ in range(3):  # the second and third are answered 304
                found = await source.find(own.factory.idevid_issuer, "SN-1", spki_sha256=digest)
                assert found == stored(own, "SN-1")
            assert await source.find(None, "SN-9", spki_sha256=digest) == ()
        async with asking(own, service, who="stranger") as stranger:
            with pytest.raises(Unavailable, match="403"):
                await stranger.find(None, "SN-1", spki_sha256=digest)
        lines = service.log().splitlines()
    assert sum("outcome=not-modified" in line for line in lines) == 2


async def test_a_manufacturer_may_answer_only_who_has_met_the_device(own: Desk) -> None:
    own.configure("require_spki = true\n")
    device = own.factory.make("SN-1")
    own.load([device])
    with Service(own) as service:
        curl = curl_to(own, service)
        refused = [curl.device("SN-1"), curl.device("SN-9")]
        wrong = curl.device("SN-1", f"?spki_sha256={encode_base64url(bytes(32))}")
        assert {str(reply.without_date) for reply in [*refused, wrong]} == {
            str(refused[0].without_date)
        }
        assert refused[0].status == 404
        async with asking(own, service, send_spki=True) as source:
            found = await source.find(None, "SN-1", spki_sha256=device.spki_sha256)
            assert [record.spki for record in found] == [device.spki]
            assert await source.find(None, "SN-1", spki_sha256=bytes(32)) == ()
        assert "outcome=key-not-told" in service.log()


def test_a_quota_is_each_registrars_own(own: Desk) -> None:
    own.configure("queries_per_s = 0.01\nburst = 2\n")
    own.load([own.factory.make("SN-1")])
    own.write("second", pki.make_registrar(own.owner, name="second.example.com"))
    with Service(own) as service:
        curl = curl_to(own, service)
        replies: list[Reply] = [curl.device("SN-1"), curl.device("SN-9"), curl.device("SN-1")]
        assert [reply.status for reply in replies] == [200, 404, 429]
        assert 0 < int(replies[2].headers["retry-after"]) <= 100
        assert replies[2].body == b""
        assert curl.device("%00").status == 429
        assert curl.get("/v1/devices/SN-1", who="second").status == 200
        assert "outcome=too-many-requests" in service.log()


def test_a_registrar_is_shut_out_by_what_the_log_says_of_it(own: Desk) -> None:
    own.load([own.factory.make("SN-1")])
    with Service(own) as service:
        assert curl_to(own, service).device("SN-1").status == 200
        (line,) = [line for line in service.log().splitlines() if "outcome=found" in line]
    thumbprint = line.partition("registrar_sha256=")[2].split()[0]
    own.configure(f'refused = ["{thumbprint}"]\n')
    with Service(own) as service:
        assert curl_to(own, service).device("SN-1").status == 403


def test_a_damaged_file_is_no_unknown_device(own: Desk) -> None:
    own.load([own.factory.make("SN-1")])
    with Service(own) as service:
        octets = bytearray(own.database.read_bytes())
        octets[4096:] = bytes(len(octets) - 4096)
        own.database.write_bytes(octets)
        reply = curl_to(own, service).device("SN-1")
    assert (reply.status, reply.body) == (500, b"")


async def test_many_questions_over_one_connection(own: Desk) -> None:
    """In the hot path of every onboarding: a registrar keeps its connections."""
    own.load([own.factory.make(f"SN-{number}") for number in range(20)])
    with Service(own) as service:
        async with asking(own, service) as source:
            answers = await asyncio.gather(
                *(source.find(None, f"SN-{n % 20}", spki_sha256=bytes(32)) for n in range(300))
            )
    assert [len(records) for records in answers] == [1] * 300


# -- a load that does not come to its end

_HELD = """
import sys, time
from oem_backend.cli import main
from oem_backend.database import loader

held = getattr(loader, sys.argv[1])

def hold(*arguments):
    result = held(*arguments)
    print("held", flush=True)
    time.sleep(60)
    return result

setattr(loader, sys.argv[1], hold)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("step", ["open_bundle", "_stage", "_add_bundle", "_merge"])
def test_a_load_that_is_killed_has_loaded_nothing(own: Desk, step: str) -> None:
    """SIGKILL after each step; ``_merge`` is all of it but the commit."""
    own.load([own.factory.make("SN-0")])
    before = stored(own, "SN-0")
    path = own.bundle([own.factory.make(f"SN-{number}") for number in range(1, 50)])
    process = subprocess.Popen(
        [sys.executable, "-c", _HELD, step, "database", "load", path, "-s", own.settings],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with Service(own) as service:  # it was opened while the other held its transaction
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(timeout=10) == -signal.SIGKILL
        process.stdout.close()
        curl = curl_to(own, service)
        assert curl.device("SN-1").status == 404
        assert decode_records(curl.device("SN-0").body) == before
        done = own.run("load", path, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["added"] == 49
        assert curl.device("SN-1").status == 200
    assert not [each for each in own.folder.iterdir() if "etilqs" in each.name]


_SMALL_DISK = """
import resource, sys
from oem_backend.cli import main

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("octets", [64 * 1024, 200 * 1024, 400 * 1024])
def test_a_full_disk_leaves_the_database_as_it_was(own: Desk, octets: int) -> None:
    own.load([own.factory.make("SN-0")])
    devices = [own.factory.make(f"SN-{number}") for number in range(1, 1000)]
    path = own.bundle(devices)
    command = [sys.executable, "-c", _SMALL_DISK, str(octets), "database", "load", str(path)]
    done = subprocess.run(
        [*command, "-s", str(own.settings)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("brski-oem: error: database ")
    assert len(stored(own, "SN-0")) == 1
    assert stored(own, "SN-1") == ()
    again = own.run("load", path, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["added"] == 999


def test_two_loads_of_one_bundle_at_once_load_it_once(own: Desk) -> None:
    path = own.bundle([own.factory.make(f"SN-{number}") for number in range(300)])
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: results.append(own.run("load", path, "--json")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0, 0, 0]
    outcomes = sorted(json.loads(done.stdout)["outcome"] for done in results)
    assert outcomes == ["already-loaded", "already-loaded", "loaded"]
