"""How profiles are found: the project's own by their table, others by entry point."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from brski.errors import SettingsError, UnknownFormat
from brski.seed import profiles
from brski.seed.hmac_drbg import HMAC_DRBG_P256
from brski.seed.profiles import GROUP, NAMES, find_installed, profile

ROOT = Path(__file__).parents[3]
FOREIGN = replace(HMAC_DRBG_P256, name="acme-p256")
WEAK = replace(HMAC_DRBG_P256, name="acme-weak", least_seed_octets=16)
HERE = "tests.unit.seed.test_profiles"

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Pretend that distributions with these entry points are installed."""

    def install_(*points: tuple[str, str]) -> None:
        found = EntryPoints(EntryPoint(name, value, GROUP) for name, value in points)
        monkeypatch.setattr(
            importlib.metadata, "entry_points", lambda **chosen: found.select(**chosen)
        )

    find_installed.cache_clear()
    yield install_
    find_installed.cache_clear()


def test_the_distribution_lists_what_the_table_has() -> None:
    """Whoever looks at the group sees the project's own profiles, too."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    assert tuple(points) == NAMES
    for name, value in points.items():
        assert EntryPoint(name, value, GROUP).load() is profile(name)


def test_a_profile_of_another_distribution_is_found(install: Install) -> None:
    install(("acme-p256", f"{HERE}:FOREIGN"))
    assert profile("acme-p256").name == "acme-p256"
    with pytest.raises(UnknownFormat, match="'acme-p384' is not known"):
        profile("acme-p384")


def test_a_name_of_the_table_cannot_be_taken_over(install: Install) -> None:
    install(("hmac-drbg-p256", f"{HERE}:FOREIGN"))
    assert profile("hmac-drbg-p256") is HMAC_DRBG_P256


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([("acme-p256", f"{HERE}:FOREIGN"), ("acme-p256", f"{HERE}:WEAK")], "installed twice"),
        ([("acme-p256", f"{HERE}:NO_SUCH")], "acme-p256.*NO_SUCH"),
        ([("acme-p256", "no_such_module_at_all:X")], "no_such_module_at_all"),
        ([("acme-p256", f"{HERE}:ROOT")], "is not that profile"),
        ([("acme-p256", f"{HERE}:WEAK")], "is not that profile"),
        ([("acme-weak", f"{HERE}:WEAK")], "is not that profile"),
    ],
)
def test_a_broken_profile_is_refused(
    install: Install, points: list[tuple[str, str]], why: str
) -> None:
    """Twice, missing, of another type or name, or one that takes a short seed."""
    install(*points)
    with pytest.raises(SettingsError, match=why):
        profile(points[0][0])


@pytest.mark.parametrize("name", ["ACME-P256", "acme_p256", "acme--p256", "a" * 65, "acme p256"])
def test_a_name_that_no_record_could_hold_is_not_looked_for(install: Install, name: str) -> None:
    install((name, f"{HERE}:FOREIGN"))
    with pytest.raises(UnknownFormat):
        profile(name)


def test_the_refusal_names_what_is_there() -> None:
    with pytest.raises(UnknownFormat) as caught:
        profile("no-such")
    assert caught.value.hint == f"known: {', '.join(profiles.NAMES)}"
