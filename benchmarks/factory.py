"""From seeds to certificates: what a core makes in a second, and what a second core adds."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.desk import CREATED, chip_id, chips, lay_out, serial_number
from benchmarks.measure import Options
from brski.edge.signers.file import load_signer
from brski.edge.signers.public_key import load_public_key
from brski.pki.signer import Signer
from brski.seed.batch_file import SeedBatch, open_batch
from brski.seed.profiles import profile
from brski.seed.recipient_key import HybridPublicKey
from brski.seed.record import SeedRecord
from oem_backend.executors.processes import ProcessExecutor
from oem_backend.factory import work
from oem_backend.factory.certify import Terms
from oem_backend.factory.ledger.at_work import WantedKey
from oem_backend.factory.pipeline import Derivation, Work

_ONE_CORE: Final = 10_000  # devices
_CHUNKS: Final = 16
_IN_A_CHUNK: Final = 2_500
_ROUNDS: Final = 3  # of which the fastest counts


def measure(options: Options) -> dict[str, float]:
    """Derive and certify; see docs/benchmarks.md for what each number is."""
    scale = options.scale
    with tempfile.TemporaryDirectory(prefix="brski-bench-") as name:
        desk = lay_out(Path(name))
        issuing = load_signer(
            desk.folder / "issuing.key", desk.folder / "issuing-chain.pem", deterministic=True
        )
        terms = Terms(
            issuer=issuing.chain[0],
            masa_url="masa.example.com",
            not_before=CREATED,
            hardware_module_type=None,
        )
        records = list(chips(max(100, int(_ONE_CORE * scale))))
        # turn about, so that what else the machine does meets both alike
        rounds = [
            (_certificates_per_core_s(records, terms, issuing), _openssl_signs_per_s())
            for _ in range(_ROUNDS)
        ]
        made, signs = (max(each) for each in zip(*rounds, strict=True))
        plain = _certificates_per_core_s(records, terms, issuing, plain=True)
        in_a_chunk = max(50, int(_IN_A_CHUNK * scale))
        path = desk.batch(_CHUNKS * in_a_chunk, records_a_chunk=in_a_chunk)
        one, two = (_work_s(desk.folder, path, terms, issuing, workers) for workers in (1, 2))
    return {
        "certificates_per_core_s": made,
        "openssl_sign_per_s": signs,
        "ratio": made / signs,
        "plain_certificates_per_core_s": plain,
        "two_process_speedup": one / two,
        "two_process_certificates_per_s": _CHUNKS * in_a_chunk / two,
    }


def _certificates_per_core_s(
    records: Sequence[SeedRecord], terms: Terms, issuing: Signer, *, plain: bool = False
) -> float:
    """From the seed to the certificate, in this process, by its CPU time.

    All keys first, then all certificates, as the workers do them: two libraries in turn would put
    each other's tables out of the processor's caches.
    """
    derivation, certify = profile("hmac-drbg-p256"), terms.profile().certify
    derive: Callable[[SeedRecord], tuple[bytes, bytes]] = (
        work.plain_spki(derivation) if plain else work.quickest_spki(derivation)
    )
    began_s = time.process_time()
    keys = [derive(record)[0] for record in records]
    for number, spki in enumerate(keys):
        certify(spki, serial_number(number), issuing)
    return len(records) / (time.process_time() - began_s)


def _openssl_signs_per_s() -> float:
    """ECDSA P-256 signatures a second and core, as ``openssl speed`` counts them."""
    done = subprocess.run(
        ["openssl", "speed", "-mr", "-seconds", "1", "ecdsap256"],  # noqa: S607 - the system's
        capture_output=True,
        text=True,
        check=True,
    )
    # +F4:3:256:51000.1:16000.2: bits, signatures a second, verifications a second
    (line,) = (row for row in done.stdout.splitlines() if row.startswith("+F4:"))
    return float(line.split(":")[3])


def _work_s(folder: Path, path: Path, terms: Terms, issuing: Signer, workers: int) -> float:
    """Wall time of the workers' way: sealed chunks in, certificates out, no books kept."""
    with path.open("rb") as stream:
        recipient = HybridPublicKey.parse((folder / "recipient.pub").read_bytes()).key_id
        batch = open_batch(stream, {"vendor": load_public_key(folder / "vendor.pub")}, recipient)
        derivations = [_derivation(batch, index, folder) for index in range(_CHUNKS)]
    began_s = time.monotonic()
    made = Work(
        derivations=iter(derivations),
        terms=terms,
        issuing=issuing,
        issuing_key=folder / "issuing.key",
        few=0,
    ).certificates(ProcessExecutor(workers))
    count = sum(len(chunk) for chunk in made)
    took_s = time.monotonic() - began_s
    assert count == batch.header.record_count
    return took_s


def _derivation(batch: SeedBatch, index: int, folder: Path) -> Derivation:
    first = index * batch.header.records_in(0)
    numbers = range(first, first + batch.header.records_in(index))
    return Derivation(
        chunk=work.SealedChunk(
            header=batch.header_octets,
            index=index,
            sealed=batch.sealed_chunk(index),
            recipient_key=folder / "recipient.key",
        ),
        batch_digest=batch.digest,
        wanted=[
            WantedKey(place=number, chip_id=chip_id(number), serial_number=serial_number(number))
            for number in numbers
        ],
        prove=False,
    )
