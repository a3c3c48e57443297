"""Which files are listed, and how they are named."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmill.core.documents import Entry, Kind
from embedmill.core.errors import SourceError, UsageError
from embedmill.runtime.paths import file_id, file_path
from embedmill.sources.files.kinds import kind_of
from embedmill.sources.files.skips import Skip
from embedmill.sources.files.source import FileSource


def write(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def listed(source: FileSource, root: Path) -> list[str]:
    start = len(file_id(os.path.realpath(root))) + 1
    return [entry.id[start:] for entry in source.entries()]


# ---- the given paths


@pytest.mark.parametrize("name", ["missing", "file/below", "in\0valid", "two\nlines", "circle"])
def test_a_path_that_is_not_there_is_an_error_at_once(tmp_path: Path, name: str) -> None:
    write(tmp_path, "file")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(SourceError) as caught:
        FileSource([tmp_path / "file", f"{tmp_path}/{name}"])
    assert repr(name)[1:-1] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_progress_is_told_by_leaves_out_large_binary_files(tmp_path: Path) -> None:
    """Else a library of 45 MB among the sources makes the share of what is done, and the time left, nonsense."""
    (tmp_path / "a.py").write_text("x = 1\n" * 20_000)
    (tmp_path / "lib.a").write_bytes(b"!<arch>\n" + bytes(1_000_000))
    (tmp_path / "small.bin").write_bytes(bytes(100))
    assert FileSource([tmp_path]).amount() == 120_000 + 100


def test_no_paths_is_wrong_usage() -> None:
    with pytest.raises(UsageError):
        FileSource([])


def test_a_pipe_that_is_given_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="pipe"):
        FileSource([tmp_path / "pipe"])


def test_ids_are_real_absolute_paths_in_a_stable_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "real/b.txt", "real/a/z.txt", "real/B.txt", "real/c/y.txt", "real/ä.txt")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    real = os.path.realpath(tmp_path / "real")
    source = FileSource(["link"])
    assert source.scopes == (real + "/",)
    expected = [f"{real}/{name}" for name in ("B.txt", "b.txt", "ä.txt", "a/z.txt", "c/y.txt")]
    assert [entry.id for entry in source.entries()] == expected
    assert [entry.id for entry in source.entries()] == expected
    [first, *_] = source.entries()
    assert (first.size, first.mtime_ns) == (1, (tmp_path / "real/B.txt").stat().st_mtime_ns)


def test_overlapping_paths_list_each_file_once(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c.txt", "a/d.txt", "a/.hidden/e.txt")
    (tmp_path / "link").symlink_to("a")
    given_paths = [tmp_path / name for name in ("a/b/c.txt", "a", "link", "a/b", "a/.hidden", "a/b/../b", "a/d.txt")]
    source = FileSource(given_paths)
    assert sorted(listed(source, tmp_path)) == ["a/.hidden/e.txt", "a/b/c.txt", "a/d.txt"]
    assert len(source.scopes) == 5
    for entry in source.entries():
        assert source.read(entry) is not None


def test_a_file_that_is_given_is_taken_unless_excluded_or_binary(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", "build/.env", "build/a.log", "b.md", "c.png", text="build\n*.log\n")
    names = ["build/.env", "build/a.log", "b.md", "c.png"]
    source = FileSource([tmp_path / name for name in names], include=["*.txt"], exclude=["/b.md"])
    assert listed(source, tmp_path) == ["build/.env", "build/a.log"]
    assert source.skipped == {"excluded": 1, "binary": 1}
    assert source.scopes == tuple(sorted(f"{os.path.realpath(tmp_path)}/{name}" for name in names))


def test_one_path_need_not_be_in_a_list(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    assert listed(FileSource(str(tmp_path)), tmp_path) == listed(FileSource(tmp_path), tmp_path) == ["a.txt"]


# ---- selection


def test_include_selects_and_exclude_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        "a.md",
        "a.py",
        "docs/b.rst",
        "docs/old/c.md",
        "src/d.md",
        "src/d.py",
        "draft-e.md",
        "src/x/f.c",
    )
    source = FileSource([tmp_path], include=["*.md", "./docs", "/src/x/", "!draft*"], exclude=["old/", "/src/*.md"])
    assert listed(source, tmp_path) == ["a.md", "docs/b.rst", "src/x/f.c"]
    assert source.skipped == {"not included": 3, "excluded": 2}


def test_what_is_left_out_by_name(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", ".hidden", ".config/b.txt", ".git/config", ".embedmill/x", "node_modules/m/i.js")
    write(
        tmp_path,
        "env/pyvenv.cfg",
        "env/lib/c.py",
        "__pycache__/d.txt",
        "sub/e.md",
        "p.PNG",
        "libz.so",
        "m.gguf",
    )
    write(tmp_path, "cache/CACHEDIR.TAG", "cache/f.txt", text="Signature: 8a477f597d28d172789f06886806bc55\n")
    write(tmp_path, "nocache/CACHEDIR.TAG", "nocache/g.txt")
    source = FileSource([tmp_path])
    assert listed(source, tmp_path) == ["a.txt", "nocache/CACHEDIR.TAG", "nocache/g.txt", "sub/e.md"]
    assert source.skipped == {"hidden": 2, "tool folder": 6, "binary": 3}
    source = FileSource([tmp_path], hidden=True)
    assert set(listed(source, tmp_path)) >= {".hidden", ".config/b.txt"}
    assert source.skipped == {"tool folder": 6, "binary": 3}
    assert listed(FileSource([tmp_path / "env"]), tmp_path) == ["env/pyvenv.cfg", "env/lib/c.py"]


def test_skipped_uses_only_the_known_reasons(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", ".b", "c.png")
    source = FileSource([tmp_path])
    list(source.entries())
    assert set(source.skipped) <= {reason.value for reason in Skip}
    json.dumps(source.skipped)


def test_links_are_not_followed_and_circles_do_no_harm(tmp_path: Path) -> None:
    write(tmp_path, "root/a.txt", "root/in/b.txt", "outside/c.txt", "root-2/d.txt")
    for name, target in {
        "to-file": "a.txt",
        "to-folder": "in",
        "in/circle": "..",
        "out": "../outside",
        "out-file": "../outside/c.txt",
        "sibling": "../root-2",
        "broken": "nothing",
        "itself": "itself",
    }.items():
        (tmp_path / "root" / name).symlink_to(target)
    source = FileSource([tmp_path / "root"])
    assert listed(source, tmp_path / "root") == ["a.txt", "in/b.txt"]
    assert source.skipped == {"link": 3, "link outside": 3, "broken link": 2}


def test_pipes_and_sockets_are_left_out_unopened(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listening, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # a socket's path is short
        listening.bind("socket.txt")
    source = FileSource([tmp_path])
    assert listed(source, tmp_path) == ["a.txt"]
    assert source.skipped == {"special": 2}


def test_a_huge_file_is_left_out_by_its_size_with_a_hint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "a.txt")
    with (tmp_path / "dump.txt").open("wb") as file:
        file.truncate(200 << 20)
    source = FileSource([tmp_path, tmp_path / "dump.txt"])
    with caplog.at_level(logging.WARNING, "embedmill"):
        assert listed(source, tmp_path) == ["a.txt"]
    assert source.skipped == {"too large": 1}
    [message] = caplog.messages
    assert message == f"{tmp_path}/dump.txt: left out, it is larger than 64 MiB (--max-file-size)"


def test_folders_deeper_than_the_recursion_limit(tmp_path: Path) -> None:
    depth = 1500  # above Python's limit of 1,000, below PATH_MAX
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("a.txt", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    try:
        source = FileSource([tmp_path])
        [entry] = source.entries()
        assert entry.id.endswith("/d" * depth + "/a.txt")
        assert source.read(entry) is not None
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # pytest's own removal recurses


# ---- names


@given(st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=4))
def test_every_file_name_has_an_id_that_leads_back(parts: list[bytes]) -> None:
    path = "/" + os.fsdecode(b"/".join(parts)).replace("\0", "x")
    document = file_id(path)
    document.encode()  # fails on lone surrogates
    assert file_path(document) == path


@given(st.text(r"\x5ce98f", max_size=12))
def test_names_that_look_escaped_have_ids_of_their_own(name: str) -> None:
    assert file_path(file_id(name)) == name
    assert file_path(file_id(name + "\udce9")) == name + "\udce9"


def test_plain_names_are_their_own_ids() -> None:
    for path in ("/a b/c.txt", "/日本/ü.txt", "C:\\temp\\x.txt", r"/etc/dev-disk-by\x2duuid.swap"):
        assert file_id(path) == path


def test_names_that_are_not_utf8_are_listed_and_read(tmp_path: Path) -> None:
    names = [b"caf\xe9.txt", rb"caf\xe9.txt", b"\xff/\xfe.txt", "é.txt".encode(), b"two\nlines.txt"]
    for name in names:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name)
    source = FileSource([tmp_path])
    documents = [source.read(entry) for entry in source.entries()]
    assert {document.text for document in documents if document} == {
        "caf\xe9.txt", r"caf\xe9.txt", "ÿ/þ.txt", "é.txt", "two\nlines.txt",
    }  # fmt: skip
    ids = [document.id.removeprefix(f"{os.path.realpath(tmp_path)}/") for document in documents if document]
    assert ids == [r"caf\x5cxe9.txt", r"caf\xe9.txt", "two\nlines.txt", "é.txt", r"\xff/\xfe.txt"]
    assert listed(FileSource([tmp_path / os.fsdecode(b"\xff")]), tmp_path) == [r"\xff/\xfe.txt"]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("README.md", "", Kind.MARKDOWN),
        ("a.MD", "", Kind.MARKDOWN),
        ("a.py", "", Kind.CODE),
        ("Makefile", "", Kind.CODE),
        ("CMakeLists.txt", "", Kind.CODE),
        ("run", "#!/bin/sh\n", Kind.CODE),
        ("run", "no shebang", Kind.TEXT),
        (".profile", "#!/bin/sh\n", Kind.CODE),
        ("a.rst", "#!", Kind.TEXT),
        ("a.txt", "", Kind.TEXT),
        ("page.html", "", Kind.MARKDOWN),
    ],
)
def test_kinds(name: str, text: str, kind: Kind) -> None:
    assert kind_of(name, text) is kind


# ---- permissions

NOBODY = 65534

AS_NOBODY = """
import json, os, sys
from embedmill.core.errors import SourceError
from embedmill.sources.files import source as files
if os.geteuid() == 0:  # root may read everything
    os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})
try:
    source = files.FileSource([sys.argv[1]])
    texts, errors = [], []
    for entry in source.entries():
        try:
            texts.append(source.read(entry).text)
        except SourceError as error:
            errors.append(str(error))
    print(json.dumps([texts, errors, source.skipped, source.unlisted()]))
except SourceError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's `tmp_path` is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(path: Path) -> object:
    program = AS_NOBODY.format(nobody=NOBODY)
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_file_that_may_not_be_read_is_an_error_of_its_own(shared: Path) -> None:
    write(shared, "a.txt", "secret.txt")
    (shared / "secret.txt").chmod(0)
    texts, errors, skipped, unlisted = as_nobody(shared)
    assert (texts, skipped, unlisted) == (["x"], {}, [])
    assert errors == [f"{shared}/secret.txt: cannot be read (permission denied): correct that, or use --exclude"]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o311])
def test_a_folder_that_cannot_be_listed_is_told_so_that_its_documents_stay(shared: Path, mode: int) -> None:
    write(shared, "a.txt", "closed/b.txt")
    (shared / "closed").chmod(mode)
    assert as_nobody(shared) == [["x"], [], {"unreadable folder": 1}, [f"{shared}/closed/"]]


def test_a_given_folder_that_cannot_be_listed_is_an_error(shared: Path) -> None:
    write(shared, "closed/b.txt")
    (shared / "closed").chmod(0o000)
    message = as_nobody(shared / "closed")
    assert message == f"{shared}/closed: permission denied: give a file or folder that can be read"


def test_a_given_file_in_a_folder_that_may_only_be_passed_through(shared: Path) -> None:
    write(shared, "closed/b.txt")
    (shared / "closed").chmod(0o711)
    assert as_nobody(shared / "closed" / "b.txt") == [["x"], [], {}, []]


def test_the_whole_machine_can_be_given() -> None:
    source = FileSource(["/"])
    assert source.scopes == ("/",)
    assert source.read(Entry("/etc/passwd", 0, 0)) is not None


def test_a_given_folder_that_goes_before_the_listing_keeps_its_documents(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    source = FileSource([tmp_path / "share"])
    (tmp_path / "share").rmdir()
    assert listed(source, tmp_path) == []
    assert source.unlisted() == source.scopes
