"""Settings files: what fits is read, what does not is told all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from brski.edge.listen import ListenAddress, parse_listen
from brski.edge.settings import (
    ExistingFile,
    Listen,
    Seconds,
    Settings,
    load_settings,
)
from brski.errors import SettingsError


class Manufacturer(Settings):
    name: str
    anchors: tuple[Path, ...] = ()


class Example(Settings):
    listen: Listen = "127.0.0.1:8443"
    state: Path = Path("state.db")
    key: ExistingFile | None = None
    timeout_s: Seconds = 5.0
    retries: int = Field(default=3, ge=0)
    files: dict[str, Path] = Field(default_factory=dict)
    manufacturer: tuple[Manufacturer, ...] = ()


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "example.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_file_is_read_and_paths_count_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the program was started: also for defaults, in tuples, mappings and tables."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "key.pem").write_text("")
    monkeypatch.chdir(tmp_path)
    path = _write(
        tmp_path / "etc",
        """
        listen = "[::1]:0"
        key = "key.pem"
        files = {a = "one", b = "/two"}
        [[manufacturer]]
        name = "Example"
        anchors = ["a.pem", "../b.pem", "/c.pem"]
        """,
    )
    settings = load_settings(path.relative_to(tmp_path), Example)
    etc = tmp_path / "etc"
    assert settings.listen == "[::1]:0"
    assert settings.key == etc / "key.pem"
    assert settings.state == etc / "state.db"
    assert settings.files == {"a": etc / "one", "b": Path("/two")}
    assert settings.manufacturer[0].anchors == (etc / "a.pem", etc / "../b.pem", Path("/c.pem"))


def test_settings_are_frozen(tmp_path: Path) -> None:
    """What was read is what runs."""
    settings = load_settings(_write(tmp_path, ""), Example)
    with pytest.raises(ValidationError):
        settings.retries = 4  # type: ignore[misc]  # what is tested


def test_all_faults_are_told_at_once_with_their_path(tmp_path: Path) -> None:
    """One start, one list: nobody fixes a file one fault at a time."""
    path = _write(
        tmp_path,
        """
        listen = "8443"
        retries = -1
        timeout = 3
        timeout_s = "soon"
        key = "none.pem"
        [[manufacturer]]
        name = "Example"
        [[manufacturer]]
        anchor = ["x"]
        """,
    )
    with pytest.raises(SettingsError) as caught:
        load_settings(path, Example)
    assert caught.value.reason.splitlines() == [
        f"{path} has 7 faults:",
        '  listen: \'8443\' is neither "host:port", "[ipv6]:port" nor "fd:N"',
        f"  key: no file at {tmp_path / 'none.pem'}",
        "  timeout_s: input should be a valid number, unable to parse string as a number,"
        " not 'soon'",
        "  retries: input should be greater than or equal to 0, not -1",
        "  manufacturer.1.name: missing",
        "  manufacturer.1.anchor: unknown key",
        "  timeout: unknown key",
    ]


def test_one_fault_is_one_line(tmp_path: Path) -> None:
    """The file, the key, the fault."""
    path = _write(tmp_path, "retriess = 1")
    with pytest.raises(SettingsError) as caught:
        load_settings(path, Example)
    assert caught.value.reason == f"{path}: retriess: unknown key"


@pytest.mark.parametrize("text", ["timeout_s = 0", "timeout_s = nan", "timeout_s = inf"])
def test_time_out_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """Every wait has an end."""
    with pytest.raises(SettingsError, match="timeout_s"):
        load_settings(_write(tmp_path, text), Example)
    assert load_settings(_write(tmp_path, "timeout_s = 1"), Example).timeout_s == 1


def test_text_that_is_not_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    """Line and column come from the parser."""
    with pytest.raises(SettingsError, match=r"not TOML: .*line 2"):
        load_settings(_write(tmp_path, "retries = 1\nretries = 2\n"), Example)


def test_octets_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    """TOML is UTF-8 by definition."""
    path = tmp_path / "x.toml"
    path.write_bytes(b"# \xff\n")
    with pytest.raises(SettingsError, match="not UTF-8 at octet 2"):
        load_settings(path, Example)


def test_missing_file_is_told_with_a_hint(tmp_path: Path) -> None:
    """A person who mistyped the path learns where an example is."""
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        load_settings(tmp_path / "none.toml", Example)
    assert "conf/" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8443", ListenAddress(host="127.0.0.1", port=8443)),
        ("registrar.example.com:0", ListenAddress(host="registrar.example.com", port=0)),
        ("[2001:db8::1]:443", ListenAddress(host="2001:db8::1", port=443)),
        ("[fe80::1%eth0]:443", ListenAddress(host="fe80::1%eth0", port=443)),
        ("fd:3", ListenAddress(descriptor=3)),
    ],
)
def test_listen_address_is_read(text: str, address: ListenAddress) -> None:
    """Host and port, IPv6 in brackets, or an inherited descriptor."""
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "8443", ":8443", "host:", "host:65536", "host:-1", "::1:443", "[::1]", "fd:", "fd:x",
     "fd:3\n", "host:1\n", "host:٣", "http://host:1", "ho st:1"],
)  # fmt: skip
def test_other_listen_address_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="neither"):
        parse_listen(text)
