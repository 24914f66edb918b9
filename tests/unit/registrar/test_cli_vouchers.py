"""``brski-registrar fetch-voucher``: what cannot be meant is refused before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from registrar_plugin.cli import main
from tests.kit.settings import beside

CONF = Path(__file__).parents[3] / "conf" / "registrar.toml"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no serial number"),
        (["no number!"], "serial number"),
        (["SN-1", "--issuer", "12"], "40 hex digits"),
        (["SN-1", "--manufacturer", "nobody"], "no manufacturer 'nobody'"),
        (["--file", "missing"], "missing"),
    ],
)
def test_misuse(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = str(beside(CONF, tmp_path))
    code = main(["fetch-voucher", "--manufacturer", "acme", "-s", settings, *arguments])
    assert code in (1, 2)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# nothing\n\n", "no serial number"),
        ("SN-1\nSN-2@12\n", "list:2: 'SN-2@12'"),
        ("SN-1\nSN 2!\n", "serial number"),
        ("SN-1\n" * 100_001, "100001 lines"),
        ("SN-\xe4", "not UTF-8"),
    ],
)
def test_a_list_is_read_whole_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    """The line is named; nothing is fetched for those before it."""
    settings = str(beside(CONF, tmp_path))
    listed = tmp_path / "list"
    listed.write_bytes(text.encode("latin-1"))
    wanted = ["fetch-voucher", "--manufacturer", "acme", "-s", settings, "--file", str(listed)]
    assert main(wanted) in (1, 2)
    assert said in capsys.readouterr().err
