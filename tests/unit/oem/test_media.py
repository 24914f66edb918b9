"""What crosses the air gap: the list of a medium, and the medium held against it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.edge.cli import DONE, MISUSE, REFUSED
from brski.errors import Malformed, MediumRefused, OnboardingError, TooLarge, UnknownFormat
from oem_backend.cli import main
from oem_backend.media import medium
from oem_backend.media.listing import MOST_FILES, ListedFile, encode_list, parse_list

FILES = {"batch-1.batch": b"sealed", "list-1.list": b"", "vendor.pub": b"a public key\n"}


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    for name, octets in FILES.items():
        (folder / name).write_bytes(octets)
    return folder


def listed(name: str, octets: bytes = b"x") -> ListedFile:
    return ListedFile(name=name, size=len(octets), sha256=hashlib.sha256(octets).digest())


def test_the_list_is_the_pages_to_the_octet(stick: Path) -> None:
    """Written down here without the code: digest, size, name, in order."""
    packed = medium.pack(stick)
    expected = b"brski media v1\n" + b"".join(
        f"{hashlib.sha256(octets).hexdigest()} {len(octets)} {name}\n".encode()
        for name, octets in sorted(FILES.items())
    )
    assert (stick / "MEDIA.txt").read_bytes() == expected
    assert packed.digest == hashlib.sha256(expected).digest()
    assert medium.check(stick, digest=packed.digest) == packed
    assert packed.octets == sum(map(len, FILES.values()))


def add(name: str, octets: bytes = b"more") -> Callable[[Path], object]:
    return lambda stick: (stick / name).write_bytes(octets)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda stick: (stick / "vendor.pub").unlink(), "vendor.pub is in the list and not on"),
        (add("autorun.inf"), "'autorun.inf' is on the medium and not in its list"),
        (add(".hidden"), "'.hidden' is on the medium"),
        (add("vendor.pub", b"a public kez\n"), "vendor.pub is not the file that is listed"),
        (add("vendor.pub", b"a public key\n\n"), "vendor.pub is not of the 13 octets"),
        (add("vendor.pub", b"a public key"), "vendor.pub is not of the 13 octets"),
        (lambda stick: (stick / "MEDIA.txt").unlink(), "has no MEDIA.txt"),
        (lambda stick: (stick / "folder").mkdir(), "'folder' is on the medium"),
    ],
)
def test_a_medium_that_is_another_is_refused(
    stick: Path, change: Callable[[Path], object], said: str
) -> None:
    medium.pack(stick)
    medium.check(stick)
    change(stick)
    with pytest.raises(MediumRefused, match=said):
        medium.check(stick)


def test_nothing_but_plain_files_is_opened(stick: Path, tmp_path: Path) -> None:
    """A link to the very same octets, a pipe that would block, a folder in a file's place."""
    medium.pack(stick)
    (tmp_path / "elsewhere").write_bytes(FILES["vendor.pub"])
    for make, said in (
        (lambda path: path.symlink_to(tmp_path / "elsewhere"), "is a link"),
        (os.mkfifo, "is no plain file"),
        (lambda path: path.mkdir(), "is no plain file"),
    ):
        path = stick / "vendor.pub"
        path.unlink()
        make(path)
        with pytest.raises(MediumRefused, match=said):
            medium.check(stick)
        path.rmdir() if path.is_dir() else None
        path.touch()
    for make in (os.mkfifo, lambda path: path.symlink_to("/etc/hostname")):
        folder = tmp_path / make.__name__.strip("<>")
        folder.mkdir()
        make(folder / "one")
        with pytest.raises(MediumRefused):
            medium.pack(folder)
        assert not (folder / "MEDIA.txt").exists()


def test_the_other_rooms_digest_counts(stick: Path) -> None:
    """A medium that agrees with itself alone is not the one that was sent."""
    told = medium.pack(stick).digest
    (stick / "MEDIA.txt").unlink()
    (stick / "vendor.pub").write_bytes(b"another key\n")
    medium.pack(stick)
    medium.check(stick)
    with pytest.raises(MediumRefused, match="the list is"):
        medium.check(stick, digest=told)


def test_a_packed_medium_is_not_packed_again(stick: Path) -> None:
    medium.pack(stick)
    with pytest.raises(MediumRefused, match="has a MEDIA"):
        medium.pack(stick)


@pytest.mark.parametrize("name", ["a b", ".a", "-a", "ä", "a" * 129, "media.TXT"])
def test_names_that_do_not_cross(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(Malformed):
        medium.pack(tmp_path)
    (tmp_path / name).rename(tmp_path / ("a" * 128))
    medium.pack(tmp_path)


LINE = f"{'0' * 64} 1 a\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"brski media v2\n{LINE}", UnknownFormat),
        (f"brski media v1\r\n{LINE}", UnknownFormat),
        (f"\ufeffbrski media v1\n{LINE}", UnknownFormat),
        ("", UnknownFormat),
        ("brski media v1", Malformed),
        ("brski media v1\n", Malformed),
        (f"brski media v1\n{LINE}"[:-1], Malformed),
        (f"brski media v1\n{LINE}\n", Malformed),
        (f"brski media v1\n{LINE}{LINE}", Malformed),
        (f"brski media v1\n{LINE.replace(' a', ' b')}{LINE}", Malformed),
        (f"brski media v1\n{LINE.replace(' a', ' A')}{LINE}", Malformed),
        (f"brski media v1\n{LINE.replace(' 1 ', ' 01 ')}", Malformed),
        (f"brski media v1\n{LINE.replace(' 1 ', ' -1 ')}", Malformed),
        (f"brski media v1\n{LINE.replace(' 1 ', ' 9007199254740992 ')}", Malformed),
        (f"brski media v1\n{LINE.replace('0 1', 'A 1')}", Malformed),
        (f"brski media v1\n{LINE.replace(' a', ' ../a')}", Malformed),
        (f"brski media v1\n{LINE.replace(' a', ' MEDIA.txt')}", Malformed),
        ("brski media v1\n" + LINE * (MOST_FILES + 1), TooLarge),
        ("brski media v1\n" + LINE * 70_000, TooLarge),
    ],
)
def test_a_list_that_is_not_the_pages(text: str, kind: type[OnboardingError]) -> None:
    assert parse_list(f"brski media v1\n{LINE}".encode())[0].name == "a"
    with pytest.raises(kind):
        parse_list(text.encode())


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True).filter(
            lambda name: name != "media.txt"
        ),
        st.binary(max_size=8),
        min_size=1,
        max_size=8,
    )
)
def test_what_is_written_is_read(files: dict[str, bytes]) -> None:
    entries = [listed(name, octets) for name, octets in files.items()]
    assert list(parse_list(encode_list(entries))) == sorted(entries, key=lambda each: each.name)


def test_files_are_taken_over_whole(stick: Path, tmp_path: Path) -> None:
    """New ones are copied, the same one stays, another one of that name is refused."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "vendor.pub").write_bytes(FILES["vendor.pub"])
    packed = medium.pack(stick)
    assert medium.take(stick, packed, inbox) == 2
    assert {path.name: path.read_bytes() for path in inbox.iterdir()} == FILES
    assert medium.take(stick, packed, inbox) == 0
    (inbox / "vendor.pub").write_bytes(b"another\n")
    with pytest.raises(MediumRefused, match=r"another vendor\.pub is in"):
        medium.take(stick, packed, inbox)


def test_a_medium_that_changes_after_its_check(stick: Path, tmp_path: Path) -> None:
    """What is copied is compared as it is copied; nothing of the false file stays."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    packed = medium.pack(stick)
    medium.check(stick)
    (stick / "vendor.pub").write_bytes(b"a public kez\n")
    with pytest.raises(MediumRefused, match="not the file that is listed"):
        medium.take(stick, packed, inbox)
    assert sorted(path.name for path in inbox.iterdir()) == ["batch-1.batch", "list-1.list"]


def test_from_a_terminal(stick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    assert main(["media", "pack", str(stick)]) == DONE
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == sorted(FILES)
    digest = last.removeprefix("list ")
    check = ["media", "check", str(stick), "--take", str(inbox), "--json"]
    assert main([*check, "--digest", digest]) == DONE
    told = json.loads(capsys.readouterr().out)
    assert told == {"digest": digest, "files": 3, "octets": 19, "new": 3}
    assert main([*check, "--digest", "0" * 64]) == REFUSED
    assert main([*check, "--digest", digest.upper()]) == MISUSE
    assert main(["media", "check", str(tmp_path / "nowhere")]) == MISUSE
