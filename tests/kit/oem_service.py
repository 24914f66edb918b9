"""The OEM's service as a process of its own, with everybody's keys, and what asks it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.kit import oem, pki

BRSKI_OEM = (
    sys.executable,
    "-c",
    "import sys; from oem_backend.cli import main; sys.exit(main(sys.argv[1:]))",
)


@dataclass
class Desk:
    """A folder with keys, settings and a database."""

    folder: Path
    factory: oem.Factory = field(default_factory=oem.Factory)
    service_root: pki.Entity = field(default_factory=lambda: pki.make_root("Service Root"))
    owner: pki.Entity = field(default_factory=lambda: pki.make_pki("Example Owner"))

    def __post_init__(self) -> None:
        self.registrar = pki.make_registrar(self.owner)
        self.write("service", pki.make_server(self.service_root, name="localhost"))
        self.write("registrar", self.registrar)
        self.pem("service-root.pem", self.service_root)
        self.pem("owner-root.pem", pki.Entity(certificate=self.owner.root, private_key=None))  # type: ignore[arg-type]  # only its certificate is written
        (self.folder / "factory-1.pem").write_bytes(
            self.factory.signer.public_key.public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            )
        )
        self.configure()

    @property
    def database(self) -> Path:
        return self.folder / "devices.db"

    @property
    def settings(self) -> Path:
        return self.folder / "oem.toml"

    def configure(self, more: str = "") -> None:
        """Write the settings; *more* are keys of ``[database.service]``."""
        self.settings.write_text(
            '[[database.factory]]\nname = "factory-1"\nkey = "factory-1.pem"\n'
            '[database.service]\nlisten = "127.0.0.1:0"\n'
            'key = "service.key"\nchain = "service.pem"\nregistrar_anchors = "owner-root.pem"\n'
            + more
        )

    def write(self, name: str, entity: pki.Entity) -> None:
        """``NAME.pem``, as it would be sent, and ``NAME.key``."""
        (self.folder / f"{name}.pem").write_bytes(entity.chain_pem)
        key = self.folder / f"{name}.key"
        key.touch(0o600)
        key.write_bytes(entity.key_pem)

    def pem(self, name: str, entity: pki.Entity) -> None:
        (self.folder / name).write_bytes(entity.certificate.public_bytes(Encoding.PEM))

    def load(self, devices: Sequence[oem.Made], **changes: Any) -> None:
        self.factory.load(self.database, devices, **changes)

    def bundle(self, devices: Sequence[oem.Made], name: str = "one.bundle", **changes: Any) -> Path:
        path = self.folder / name
        path.write_bytes(self.factory.bundle(devices, **changes))
        return path

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """``brski-oem database …`` in a process of its own, to its end."""
        words = [str(argument) for argument in arguments]
        command = [*BRSKI_OEM, "database", *words, "-s", str(self.settings)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


class Service:
    """``brski-oem database serve``, running while the block does."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._log = desk.folder / "service.log"
        self.address = ""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*BRSKI_OEM, "database", "serve", "--announce", "-s", str(self._desk.settings)],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log()
        self.address = json.loads(line)["listeners"]["registrars"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert code == 0, self.log()

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def base_url(self) -> str:
        return f"https://localhost:{self.port}"

    def log(self) -> str:
        return self._log.read_text()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def without_date(self) -> tuple[int, dict[str, str], bytes]:
        return (
            self.status,
            {name: value for name, value in self.headers.items() if name != "date"},
            self.body,
        )


@dataclass(frozen=True, kw_only=True)
class Curl:
    """curl as a registrar that was written by somebody else."""

    program: str
    desk: Desk
    service: Service

    def get(
        self, target: str, *options: str, who: str | None = "registrar", method: str = "GET"
    ) -> Reply:
        """One request for *target*, path and query as they are to be sent."""
        command = [self.program, "--silent", "--show-error", "--include", "--path-as-is"]
        command += ["--globoff", "--http1.1", "--max-time", "20", "--request", method]
        command += ["--cacert", str(self.desk.folder / "service-root.pem"), *options]
        if who is not None:
            command += ["--cert", str(self.desk.folder / f"{who}.pem")]
            command += ["--key", str(self.desk.folder / f"{who}.key")]
        done = subprocess.run(
            [*command, self.service.base_url + target], capture_output=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return _parse(done.stdout)

    def device(self, serial_number: str, query: str = "", *options: str) -> Reply:
        return self.get(f"/v1/devices/{serial_number}{query}", *options)


def _parse(octets: bytes) -> Reply:
    head, _, body = octets.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Reply(
        status=int(first.split()[1]),
        headers={name.lower(): value for name, value in headers.items()},
        body=body,
    )
