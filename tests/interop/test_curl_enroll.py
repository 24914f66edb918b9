"""curl and openssl as a device: every step of an onboarding by programs that are not ours.

The one thing they cannot make is the voucher-request; it is the device's own, sent by curl.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path

import pytest

from brski.edge.signers.file import load_chain, write_chain, write_private_key
from brski.idevid.record import Presentation
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import Stage, set_stage
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.pledge.messages import build_voucher_request
from device_client.pledge.policy import Pledge
from tests.kit.programs import require_program

SERIAL_NUMBER = "SN-0001"


class Foreign:
    """curl and openssl with the device's key and certificate, in one folder."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self._folder = folder
        self._root = f"https://127.0.0.1:{stage.registrar_port}/.well-known"
        self.identity = SeedIdentity(load_fuse(stage.fuse_path(SERIAL_NUMBER)))
        write_private_key(folder / "idevid.key", self.identity.signer().private_key)
        write_chain(folder / "idevid.pem", self.identity.client_chain)

    async def run(self, program: str, *arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            require_program(program, program),
            *arguments,
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out

    async def curl(self, tls: str, path: str, *arguments: str) -> tuple[int, bytes]:
        """Status and body; as the device where *arguments* do not say otherwise."""
        status = await self.run(
            *("curl", "-sk", "--max-time", "20", f"--tlsv{tls}", "--tls-max", tls),
            *("-o", "answer", "-w", "%{http_code}"),
            *(*arguments, self._root + path),
        )
        return int(status), (self._folder / "answer").read_bytes()

    async def enroll(self, tls: str) -> tuple[int, bytes]:
        device = ("--cert", "idevid.pem", "--key", "idevid.key")
        return await self.curl(
            *(tls, "/est/simpleenroll", *device, "-H", "Content-Type: application/pkcs10"),
            *("--data-binary", "@csr.b64"),
        )


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.requirement("REG-29", "ESTS-5", "ESTS-9", "ESTS-1")
async def test_curl_enrolls_after_the_voucher_exchange_and_not_before(
    tmp_path: Path, tls: str
) -> None:
    """The same command: refused before the voucher, a certificate after it."""
    async with Children(tmp_path / "logs") as children:
        ordered = Ordered(serial_number=SERIAL_NUMBER, presentation=Presentation.CARRIED)
        stage = await set_stage(tmp_path, children, [ordered])
        device = Foreign(tmp_path, stage)
        identity = device.identity
        assert identity.idevid_issuer is not None
        qualifier = hashlib.sha256(identity.idevid_issuer).hexdigest()[:16]
        await device.run(
            *("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", "ldevid.key", "-outform", "DER", "-out", "csr.der"),
            *("-subj", f"/serialNumber={SERIAL_NUMBER}/dnQualifier={qualifier}"),
        )
        csr = base64.encodebytes((tmp_path / "csr.der").read_bytes())
        (tmp_path / "csr.b64").write_bytes(csr)

        for path in ("/est/cacerts", "/est/csrattrs"):
            status, body = await device.curl(tls, path)
            assert status == 200
            (tmp_path / path.rpartition("/")[2]).write_bytes(base64.b64decode(body))
        await device.run(
            *("openssl", "pkcs7", "-inform", "DER", "-in", "cacerts", "-print_certs"),
            *("-out", "ca.pem"),
        )
        assert b"id-ecPublicKey" in await device.run(
            "openssl", "asn1parse", "-inform", "DER", "-in", "csrattrs"
        )

        assert (await device.enroll(tls))[0] == 403

        _, request = build_voucher_request(
            Pledge(
                serial_number=identity.serial_number,
                idevid_issuer=identity.idevid_issuer,
                signer=identity.signer(),
                idevid_chain=identity.client_chain,
                voucher_anchors=identity.voucher_anchors,
                serialization=CMS,
            ),
            registrar_certificate=load_chain(tmp_path / "keys" / "registrar-chain.pem")[0],
            nonce=bytes(range(16)),
            created_on=None,
        )
        (tmp_path / "request").write_bytes(request)
        shown = ("--cert", "idevid.pem", "--key", "idevid.key")
        status, _ = await device.curl(
            *(tls, "/brski/requestvoucher", *shown, "-H", f"Content-Type: {VOUCHER_CMS_JSON}"),
            *("--data-binary", "@request"),
        )
        assert status == 200
        assert (await device.enroll(tls))[0] == 403  # the voucher is not accepted yet
        status, _ = await device.curl(
            *(tls, "/brski/voucher_status", *shown, "-H", "Content-Type: application/json"),
            *("-d", '{"version": 1, "status": true}'),
        )
        assert status == 200

        status, body = await device.enroll(tls)
        assert status == 200
        (tmp_path / "ldevid.p7").write_bytes(base64.b64decode(body))
        await device.run(
            *("openssl", "pkcs7", "-inform", "DER", "-in", "ldevid.p7", "-print_certs"),
            *("-out", "ldevid.pem"),
        )
        assert (tmp_path / "ldevid.pem").read_text().count("BEGIN CERTIFICATE") == 1
        await device.run("openssl", "verify", "-CAfile", "ca.pem", "ldevid.pem")
        key = await device.run("openssl", "pkey", "-in", "ldevid.key", "-pubout")
        certified = await device.run("openssl", "x509", "-in", "ldevid.pem", "-noout", "-pubkey")
        assert key == certified
