"""What is shown, and what never is: passwords, control characters, half a character."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
import unicodedata
from collections.abc import Iterator, Mapping
from fcntl import ioctl
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_runs import Shell
from embedmill.cli.output import masked, one_line
from embedmill.cli.progress import Bar, Lines, Listing, Speed, clock
from embedmill.cli.render import hints
from embedmill.cli.render.hits import clipped, in_one_line, snippet
from embedmill.cli.render.wording import counted, in_bytes, in_time, place, table
from embedmill.core.documents import Document, Entry
from embedmill.core.reports import Progress
from embedmill.models import ModelFiles
from embedmill.runtime.passwords import without_password
from waiting import until

# passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:secret@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann:se:cr@et@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann:sec/ret@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://:secret@host/db", "postgresql://:***@host/db"),
        ("no store at //ann:secret@host/db: run", "no store at //ann:***@host/db: run"),
        ("postgresql://host/db?user=ann&password=secret&x=1", "postgresql://host/db?user=ann&password=***&x=1"),
        ("host=h password=secret dbname=d", "host=h password=*** dbname=d"),
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        ("sqlite:.embedmill/index.db", "sqlite:.embedmill/index.db"),
        ("http://host:80/a@b", "http://host:80/a@b"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@given(st.text(st.characters(exclude_characters="/", exclude_categories=["Z", "C"]), min_size=1))
def test_no_part_of_a_password_is_left(password: str) -> None:
    assert masked(f"error: postgresql://ann:{password}@host/db: no") == "error: postgresql://ann:***@host/db: no"
    assert without_password(f"postgresql://ann:{password}@host/db?a=b") == "postgresql://ann@host/db?a=b"


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("postgresql://ann:se/c?r@et@host:5432/db?a=b&c=d", "postgresql://ann@host:5432/db?a=b&c=d"),
        ("postgresql://host/db?user=ann&password=secret&x=1", "postgresql://host/db?user=ann&x=1"),
        ("postgresql://host/db?password=secret", "postgresql://host/db"),
        ("postgresql://host/db?a=b&pass%77ord=secret&sslpassword=too", "postgresql://host/db?a=b"),
        ("postgresql://ann@/db?host=/tmp/a", "postgresql://ann@/db?host=/tmp/a"),
        ("sqlite:a b.db", "sqlite:a b.db"),
        ("sqlite:why?", "sqlite:why?"),
        ("sqlite:/odd/what%3f 100%.db", "sqlite:/odd/what%3f 100%.db"),
    ],
)
def test_a_url_without_its_password_stays_of_use(url: str, left: str) -> None:
    assert without_password(url) == left


# commands to be run next

WORDS = st.text(st.characters(exclude_categories=["C"]), min_size=1)


@given(WORDS, st.none() | WORDS, st.lists(WORDS))
def test_a_command_that_is_named_can_be_pasted(table: str, schema: str | None, columns: list[str]) -> None:
    given = {"schema": schema, "id": columns, "model": "not asked for"}
    wanted = [each for column in columns for each in ("--id", column)] + (["--schema", schema] if schema else [])
    shown = hints.command("ingest", table, 5, given=given, kept=("id", "schema"))
    assert shlex.split(shown) == ["embedmill", "ingest", table, "5", *wanted]


def test_a_command_shows_no_password(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    for url in ("sqlite://ann:secret@host/x.db", "postgresql://ann:secret@host/x", "ann:secret@host"):
        for verbose in ([], ["-v"]):
            done = shell.run("status", "--store", url, *verbose)
            assert done.returncode in (1, 2)
            assert "secret" not in done.stdout + done.stderr


# text for a terminal


@given(st.text())
def test_nothing_that_drives_a_terminal_is_left(text: str) -> None:
    shown = one_line(text)
    assert not any(unicodedata.category(character) == "Cc" for character in shown)
    assert shown.isprintable() or not text.isprintable()


def cells(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.category(character) in ("Mn", "Me", "Cf") for character in text)


@given(st.text(st.characters(exclude_categories=["C"])), st.integers(2, 100))
def test_clipped_text_fits_and_says_that_it_is_clipped(text: str, width: int) -> None:
    shown = clipped(text, width)
    assert cells(shown) <= width
    assert shown == text if cells(text) <= width else (shown.endswith("…") and text.startswith(shown[:-1]))


def test_clipping_wide_characters() -> None:
    assert clipped("日本語テキスト", 7) == "日本語…"
    assert clipped("日本語テキスト", 6) == "日本…"
    assert clipped("日本語", 6) == "日本語"
    assert clipped("short", 80) == "short"


@given(st.text(), st.text())
def test_a_snippet_is_a_few_lines_of_the_text(text: str, query: str) -> None:
    lines = snippet(text, query)
    assert len(lines) <= 3
    whole = text.expandtabs(4)
    assert all(line.strip() in whole for line in lines)
    assert bool(lines) == bool(text.split())


def test_a_snippet_shows_where_the_words_are() -> None:
    text = (
        "def first():\n    pass\n\n\n"
        + "x = 1\n" * 5
        + "    def retry(timeout):\n        wait(timeout)\n        again()\n"
    )
    assert snippet(text, "retry after a timeout") == ["def retry(timeout):", "    wait(timeout)", "    again()"]
    assert snippet(text, "no such words") == ["def first():", "    pass", "x = 1"]


@given(st.text())
def test_in_one_line(text: str) -> None:
    shown = in_one_line(text)
    assert len(shown) <= 160 and " ".join(shown.split()) == shown


def test_numbers_and_places() -> None:
    assert [counted(number, "chunk") for number in (0, 1, 1024)] == ["0 chunks", "1 chunk", "1,024 chunks"]
    assert [in_bytes(number) for number in (0, 999, 1000, 12_345_678)] == ["0 bytes", "999 bytes", "1 kB", "12.3 MB"]
    assert [in_time(seconds) for seconds in (0.04, 9.94, 9.96, 59.4, 59.6, 3599, 3661)] == [
        *("0.0 s", "9.9 s", "10 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 1 min")
    ]
    assert [clock(seconds) for seconds in (0, 59.6, 3600)] == ["0:00", "1:00", "1:00:00"]
    assert place("/a/b/c.md", 3, beneath="/a") == "b/c.md:3"
    assert place("/ab/c.md", beneath="/a") == "/ab/c.md"
    assert place("/c.md", 1, beneath="/") == "/c.md:1"
    assert place("/a/new\nline", beneath="/a") == "'new\\nline'"
    assert table([("a", "1"), ("long", ""), ("bb", "2")]) == "a   1\nbb  2"


# progress


def state(seconds: float, embedded: int, done_bytes: int, **more: int) -> Progress:
    counts = dict.fromkeys(("documents", "unchanged", "chunks", "cached", "duplicates", "failed", "tokens"), 0)
    return Progress(**(counts | {"restarts": 0} | more), embedded=embedded, bytes=done_bytes, seconds=seconds)


class Sized:
    """A source of units of these sizes."""

    scopes = ()
    skipped: ClassVar[Mapping[str, int]] = {}

    def __init__(self, *sizes: int) -> None:
        self._sizes = sizes

    def entries(self) -> Iterator[Entry]:
        return (Entry(str(number), size, 0) for number, size in enumerate(self._sizes))

    def read(self, entry: Entry) -> Document | None:
        return None

    def amount(self) -> int:
        return sum(self._sizes)

    def deselected(self, sizes: Mapping[str, int]) -> tuple[str, ...]:
        return ()

    def finish_within(self, seconds: float) -> None:
        pass

    def unlisted(self) -> tuple[str, ...]:
        return ()


def listed(*sizes: int) -> Listing:
    listing = Listing(Sized(*sizes))
    listing.start()
    until(lambda: listing.bytes is not None)
    return listing


def test_speed_is_that_of_the_last_seconds() -> None:
    speed = Speed()
    assert speed.per_second() is None
    for second in range(100):  # slow at first: 1 chunk/s for a minute, then 10
        speed.add(state(second, second if second < 60 else 60 + 10 * (second - 60), 100 * second))
    assert speed.per_second() == pytest.approx(10)
    assert speed.seconds_for(1000) == pytest.approx(10)


def test_time_left_cannot_be_told_while_nothing_is_finished() -> None:
    speed = Speed()
    speed.add(state(0, 0, 0))
    speed.add(state(5, 0, 0))
    assert speed.seconds_for(1000) is None


def test_lines_come_now_and_then_with_share_and_time_left() -> None:
    stream = io.StringIO()
    lines = Lines(stream, listed(4000, 6000))
    for tenth in range(251):
        lines.show(state(tenth / 10, tenth, 10 * tenth, documents=1, failed=tenth > 200, restarts=tenth > 200))
    first, second = stream.getvalue().splitlines()
    assert first == "documents 1, chunks 100, 10/s, 10%, 1:30 left"
    assert second.startswith("documents 1, chunks 200, 10/s, 20%, 1:20 left")


def test_failures_and_restarts_are_shown_when_there_are_any() -> None:
    stream = io.StringIO()
    Lines(stream, Listing(None)).show(state(10, 5, 0, failed=2, restarts=1))
    assert stream.getvalue() == "documents 0, chunks 7, failed 2, restarts 1\n"


@pytest.mark.parametrize("columns", [20, 60, 80, 200])
def test_the_bar_fits_into_one_line(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    bar = Bar(stream, listed(1000))
    for second in (0.1, 1.0, 1.9):  # the first is too early, the last too soon after the one before
        bar.show(state(second, 50, 500, documents=3))
    bar.close()
    drawn = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert drawn.count("\r\x1b[K") == 2 and drawn.endswith("\r\x1b[K")
    (line,) = [part for part in drawn.split("\r\x1b[K") if part]
    assert len(line) < columns and "\n" not in line and "50%" in line


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, shell: Shell, *arguments: object, columns: int = 80) -> None:
        self._own, its = pty.openpty()
        ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {name: value for name, value in shell.environment.items() if name != "COLUMNS"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "embedmill", *map(str, arguments)],
            cwd=shell.folder,
            env=environment | {"TERM": "xterm"},
            stdin=its,
            stdout=its,
            stderr=its,
        )
        os.close(its)

    def answer(self, text: str) -> None:
        os.write(self._own, text.encode())

    def shown(self) -> str:
        """All that it showed until its end."""
        parts = []
        while select.select([self._own], [], [], 60)[0]:
            try:
                parts.append(os.read(self._own, 65536))
            except OSError:  # the command has ended
                break
        os.close(self._own)
        self.code = self._process.wait()
        return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.fixture
def shell(tmp_path: Path, real_model: ModelFiles) -> Shell:
    return Shell(tmp_path, EMBEDMILL_CACHE_DIR=str(tmp_path / "cache"), EMBEDMILL_MODEL=str(real_model.folder))


def test_people_see_hits_with_headings_and_lines(shell: Shell) -> None:
    text = "# Kitchen\n\n## Bread\n\nKnead the dough \x1b[31mfor ten minutes.\n" + "A long line. " * 20 + "\n"
    (shell.folder / "kitchen.md").write_text(text)
    shell.run("index", "kitchen.md")
    terminal = Terminal(shell, "search", "how long to knead", columns=60)
    shown = terminal.shown()
    assert terminal.code == 0
    assert "\x1b[1;36mkitchen.md:" in shown and "Bread" in shown
    assert "\x1b[31m" not in shown, "what a file holds must not drive the terminal"
    for colour in ("\x1b[1;36m", "\x1b[33m", "\x1b[1m", "\x1b[2m", "\x1b[0m"):
        shown = shown.replace(colour, "")
    assert "\x1b" not in shown
    assert all(len(line) <= 60 for line in shown.splitlines())
    assert "Knead the dough" in shown and "…" in shown

    shell.environment["NO_COLOR"] = "1"
    assert "\x1b" not in Terminal(shell, "search", "how long to knead").shown()


def test_people_see_progress_and_no_trace_of_it_afterwards(shell: Shell) -> None:
    folder = shell.folder / "texts"
    folder.mkdir()
    for number in range(200):
        words = " ".join(f"word{number}x{other}" for other in range(30))
        (folder / f"{number}.txt").write_text(f"Text number {number}. {words}\n")
    (folder / "large.txt").write_text("x" * 100_000)
    terminal = Terminal(shell, "index", "texts", "--max-file-size", "50k")
    shown = terminal.shown()
    assert terminal.code == 0
    drawn = [part for part in shown.split("\r\x1b[K") if part.startswith("documents ")]
    assert drawn and any("%" in part for part in drawn)
    assert shown.count("warning: ") == 1, "the listing for the total must not say it again"
    after = shown[shown.rindex("\r\x1b[K") :]
    assert re.match(r"\r\x1b\[K\d+ chunks indexed in ", after)

    quiet = Terminal(shell, "index", "texts", "-q", "--store", "sqlite:quiet.db")  # from the cache
    assert quiet.shown() == ""


def test_clearing_the_cache_asks(shell: Shell) -> None:
    (shell.folder / "a.txt").write_text("Some words.\n")
    shell.run("index", "a.txt")
    refused = Terminal(shell, "cache", "clear")
    refused.answer("\n")
    assert "Remove 1 vectors from" in refused.shown()
    assert refused.code == 1
    assert shell.json("cache", "stats")["entries"] == 1
    agreed = Terminal(shell, "cache", "clear")
    agreed.answer("y\n")
    assert "1 vector removed" in agreed.shown()
    assert agreed.code == 0
