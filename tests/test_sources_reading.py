"""What a file's reading promises while others change the files."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from embedmill.core.documents import Entry
from embedmill.core.errors import SourceError
from embedmill.sources.files.source import FileSource

YEAR_2001 = 1_000_000_000


def old(path: Path, text: str = "old text") -> Path:
    """A file whose time can be trusted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (YEAR_2001, YEAR_2001))
    return path


def only(source: FileSource) -> Entry:
    [entry] = source.entries()
    return entry


def test_a_document_has_the_hash_size_and_time_of_its_bytes(tmp_path: Path) -> None:
    path = old(tmp_path / "a.txt", "Größe\r\n")
    source = FileSource([tmp_path])
    entry = only(source)
    document = source.read(entry)
    assert document is not None
    assert document.text == "Größe\r\n"
    assert document.content_hash == hashlib.sha256(path.read_bytes()).digest()
    assert (document.size, document.mtime_ns) == (9, YEAR_2001 * 10**9) == (entry.size, entry.mtime_ns)


@pytest.mark.parametrize("age", [0, -3600])
def test_a_young_files_time_is_not_trusted(tmp_path: Path, age: int) -> None:
    (tmp_path / "a.txt").write_text("x")
    changed = time.time() - age
    os.utime(tmp_path / "a.txt", (changed, changed))
    source = FileSource([tmp_path])
    document = source.read(only(source))
    assert document is not None
    assert document.mtime_ns == 0


def test_an_empty_file_is_a_document_without_text(tmp_path: Path) -> None:
    old(tmp_path / "a.txt", "")
    source = FileSource([tmp_path])
    document = source.read(only(source))
    assert document is not None
    assert (document.text, document.size) == ("", 0)
    assert source.skipped == {}


def test_binary_content_is_found_on_reading(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x7fELF\0\0")
    source = FileSource([tmp_path])
    assert source.read(only(source)) is None
    assert source.skipped == {"binary": 1}


def change_while_reading(monkeypatch: pytest.MonkeyPatch, path: Path, changes: int) -> None:
    """Append a line to the file during each of its first readings, and give it its old time again."""
    read = os.read
    left = iter(range(changes))

    def read_and_change(descriptor: int, size: int) -> bytes:
        content = read(descriptor, size)
        if content and next(left, None) is not None:
            with path.open("a") as file:
                file.write("more\n")
            os.utime(path, (YEAR_2001, YEAR_2001))
        return content

    monkeypatch.setattr(os, "read", read_and_change)


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old(tmp_path / "a.txt", "line\n")
    source = FileSource([tmp_path])
    change_while_reading(monkeypatch, path, 2)
    document = source.read(only(source))
    assert document is not None
    assert document.text == "line\nmore\nmore\n"
    assert document.mtime_ns == YEAR_2001 * 10**9


def test_a_file_that_never_comes_to_rest_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old(tmp_path / "a.txt", "line\n")
    source = FileSource([tmp_path])
    change_while_reading(monkeypatch, path, 1000)
    document = source.read(only(source))
    assert document is not None
    assert document.mtime_ns == 0
    assert document.content_hash == hashlib.sha256(document.text.encode()).digest()
    assert document.size == len(document.text)


def test_reading_ends_though_another_writes_on_and_on(tmp_path: Path) -> None:
    path = old(tmp_path / "a.txt", "line\n" * 100_000)
    program = "import sys\nwith open(sys.argv[1], 'ab', 0) as file:\n    while True: file.write(b'more\\n')"
    source = FileSource([tmp_path])
    entry = only(source)
    with subprocess.Popen([sys.executable, "-c", program, path]) as writer:
        try:
            while path.stat().st_size == entry.size:
                time.sleep(0.01)
            document = source.read(entry)
        finally:
            writer.kill()
    assert document is not None
    assert document.mtime_ns == 0
    assert document.text.startswith("line\n" * 100_000 + "more\n")


def test_a_file_that_grows_above_the_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old(tmp_path / "a.txt", "x" * 100)
    source = FileSource([tmp_path], max_bytes=100)
    entry = only(source)
    assert source.read(entry) is not None
    old(tmp_path / "a.txt", "x" * 101)
    with caplog.at_level(logging.WARNING, "embedmill"):
        assert source.read(entry) is None
    assert source.skipped == {"too large": 1}
    assert "a.txt: left out" in caplog.text


def test_a_file_without_a_size_is_read_up_to_the_limit() -> None:
    source = FileSource(["/proc/self/status"])  # the kernel says 0 bytes
    document = source.read(only(source))
    assert document is not None
    assert "Pid:" in document.text
    source = FileSource(["/proc/self/status"], max_bytes=10)
    assert source.read(only(source)) is None
    assert source.skipped == {"too large": 1}


def swap_for_nothing(path: Path, outside: Path) -> None:
    path.unlink()


def swap_for_a_link(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside / "in" / "a.txt")


def swap_the_folder_for_a_link(path: Path, outside: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to(outside / "in")


def swap_a_folder_above_for_a_link(path: Path, outside: Path) -> None:
    path.parent.parent.rename(outside.parent / "moved")
    path.parent.parent.symlink_to(outside)


def swap_the_folder_for_a_file(path: Path, outside: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.write_text("secret")


def swap_for_a_pipe(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swap_for_a_folder(path: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("swap", "reason"),
    [
        (swap_for_nothing, "vanished"),
        (swap_for_a_link, "vanished"),
        (swap_the_folder_for_a_link, "vanished"),
        (swap_a_folder_above_for_a_link, "vanished"),
        (swap_the_folder_for_a_file, "vanished"),
        (swap_for_a_pipe, "special"),
        (swap_for_a_folder, "special"),
    ],
)
def test_what_stands_in_a_files_place_is_not_read(
    tmp_path: Path, swap: Callable[[Path, Path], None], reason: str
) -> None:
    old(tmp_path / "outside" / "in" / "a.txt", "secret")
    path = old(tmp_path / "root" / "x" / "in" / "a.txt")
    source = FileSource([tmp_path / "root"])
    entry = only(source)
    swap(path, tmp_path / "outside")
    assert source.read(entry) is None
    assert source.skipped == {reason: 1}


def test_a_file_that_comes_and_goes_during_the_listing(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        old(tmp_path / f"{name}.txt")
        old(tmp_path / name / "d.txt")
    source = FileSource([tmp_path])
    entries = source.entries()
    next(entries)
    (tmp_path / "b.txt").unlink()
    (tmp_path / "b" / "d.txt").unlink()
    (tmp_path / "b").rmdir()
    assert len(list(entries)) == 3
    assert source.skipped == {"vanished": 2}


@pytest.mark.parametrize("below", ["../outside.txt", "in/../../outside.txt", ".", "", "a//b"])
def test_ids_cannot_lead_out_of_the_root(tmp_path: Path, below: str) -> None:
    old(tmp_path / "outside.txt", "secret")
    (tmp_path / "root" / "in").mkdir(parents=True)
    source = FileSource([tmp_path / "root"])
    with pytest.raises(SourceError):
        source.read(Entry(f"{os.path.realpath(tmp_path)}/root/{below}", 0, 0))


@pytest.mark.parametrize("other", ["/etc/hostname", "relative", "", "a\0b", "/"])
def test_ids_of_other_sources_are_refused(tmp_path: Path, other: str) -> None:
    with pytest.raises(SourceError):
        FileSource([tmp_path]).read(Entry(other, 0, 0))


def test_no_descriptors_are_left_open(tmp_path: Path) -> None:
    old(tmp_path / "a" / "b" / "c.txt")
    old(tmp_path / "a" / "d.txt").chmod(0o600)
    source = FileSource([tmp_path])
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for entry in list(source.entries()):
        source.read(entry)
        Path(entry.id).unlink()
        source.read(entry)
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


def test_reading_from_several_threads_counts_everything(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.txt").write_bytes(b"\0")
    source = FileSource([tmp_path])
    entries = list(source.entries())
    threads = [threading.Thread(target=lambda: [source.read(entry) for entry in entries]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.skipped == {"binary": 400}


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 99, b"x" * 100])
def test_the_limit_itself_is_not_too_large(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    source = FileSource([tmp_path], max_bytes=100)
    document = source.read(only(source))
    assert document is not None
    assert document.text.encode() == content
