"""openssl's commands, run beside a server that lives in this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from tests.kit.programs import require_program


@dataclass(frozen=True, slots=True)
class OpenSSL:
    """``await OpenSSL(folder)("x509", ...)``: run it there; it must end well."""

    folder: Path

    async def __call__(self, *arguments: str) -> bytes:
        """Its standard output."""
        process = await asyncio.create_subprocess_exec(
            *(require_program("openssl", "openssl"), *arguments),
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out
