"""What --include and --exclude mean: as in git and ripgrep, from the walked folder and from the current one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_runs import Shell
from embedmill.core.errors import UsageError
from embedmill.sources.files.selection import Selection, braces
from embedmill.sources.files.source import FileSource

FILES = [
    "README.md",
    "docs/a.md",
    "docs/b.ipynb",
    "docs/drafts/c.md",
    "docs/drafts/d.rst",
    "src/v/Foo/e.py",
    "src/v/f.py",
    "src/g.yaml",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        path = tmp_path / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("words")
    monkeypatch.chdir(tmp_path / "p")
    return tmp_path / "p"


def taken(root: str, **options: list[str]) -> set[str]:
    return {os.path.relpath(entry.id) for entry in FileSource([root], **options).entries()}


def below(*starts: str) -> set[str]:
    return {name for name in FILES if name.startswith(starts)}


@pytest.mark.parametrize(
    ("root", "patterns", "expected"),
    [
        (".", ["*.{md,ipynb}"], below("README.md", "docs/a", "docs/b", "docs/drafts/c")),
        (".", ["docs"], below("docs/")),
        (".", ["docs/"], below("docs/")),
        (".", ["drafts"], below("docs/drafts/")),
        (".", ["./src/*.yaml"], {"src/g.yaml"}),
        (".", ["src/*.yaml"], {"src/g.yaml"}),
        (".", ["/src/*.yaml"], {"src/g.yaml"}),
        (".", ["*.yaml", "*.py"], below("src/")),
        (".", ["*.md", "!README.md"], {"docs/a.md", "docs/drafts/c.md"}),
        (".", ["!README.md", "*.md"], below("README.md", "docs/a", "docs/drafts/c")),
        (".", ["!*.md"], set(FILES) - below("README.md", "docs/a", "docs/drafts/c")),
        (".", ["!drafts"], set(FILES) - below("docs/drafts/")),
        (".", ["*.md", "!drafts"], {"README.md", "docs/a.md"}),
        (".", ["."], set(FILES)),
        (".", ["./"], set(FILES)),
        ("src", ["src/v/Foo"], {"src/v/Foo/e.py"}),  # relative to the current folder
        ("src", ["v/Foo"], {"src/v/Foo/e.py"}),  # relative to the walked one
        ("src", ["./v/Foo"], {"src/v/Foo/e.py"}),
        ("src", ["./src/v/Foo/"], {"src/v/Foo/e.py"}),
        ("src", ["src/**/*.py"], {"src/v/Foo/e.py", "src/v/f.py"}),
        ("src", ["{src/v,x}/f.py"], {"src/v/f.py"}),
        (".", ["*.none"], set()),
        (".", ["["], set()),
    ],
)
def test_what_is_included(project: Path, root: str, patterns: list[str], expected: set[str]) -> None:
    assert taken(root, include=patterns) == expected


@pytest.mark.parametrize(
    ("root", "patterns", "left_out"),
    [
        (".", ["*.{md,ipynb}"], below("README.md", "docs/a", "docs/b", "docs/drafts/c")),
        (".", ["docs"], below("docs/")),
        (".", ["./docs/*.md"], {"docs/a.md"}),
        (".", ["docs/", "!docs/drafts"], below("docs/")),  # as in git: what is below a folder that is left out stays so
        (".", ["*.md", "!README.md"], {"docs/a.md", "docs/drafts/c.md"}),
        ("src", ["src/v/Foo"], {"src/v/Foo/e.py"}),
        ("src", ["v/Foo"], {"src/v/Foo/e.py"}),
        ("src", ["/v/Foo"], {"src/v/Foo/e.py"}),
        ("src/v", ["src/v/f.py"], {"src/v/f.py"}),
        ("src/v/f.py", ["src/v/f.py"], {"src/v/f.py"}),
    ],
)
def test_what_is_excluded(project: Path, root: str, patterns: list[str], left_out: set[str]) -> None:
    assert taken(root, exclude=patterns) == taken(root) - left_out


def test_paths_above_the_current_folder_and_absolute_ones(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.path.realpath(project)
    monkeypatch.chdir(project / "docs")
    assert taken("..", exclude=["../src", "./drafts", f"{real}/README.md"]) == {"a.md", "b.ipynb"}
    assert taken("..", include=["../src/v/**", "drafts/c.md"]) == {"../src/v/Foo/e.py", "../src/v/f.py", "drafts/c.md"}


def test_a_name_that_begins_a_comment_in_a_file_is_a_name(project: Path) -> None:
    (project / "#notes").write_text("words")
    assert taken(".", include=["#notes"]) == {"#notes"}


def test_a_removed_current_folder_does_no_harm(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert len(list(FileSource([project], include=["src/v/**"]).entries())) == 2


def test_patterns_that_match_nothing_are_known(project: Path) -> None:
    source = FileSource(
        ["docs", "src"],
        include=["*.md", "docs/*.md", "*.{yaml,none}", "*.txt", "src/*.rs"],
        exclude=["drafts", "docs/drafts/c.md", "docs/none/", "["],
    )
    assert source.unmatched() == {}  # nothing has been listed
    list(source.entries())
    # What lies in an excluded folder may be excluded once more; a pattern that another overrides has matched, too.
    assert source.unmatched() == {"include": ["*.txt", "src/*.rs"], "exclude": ["docs/none/", "["]}


@pytest.mark.parametrize(
    ("patterns", "fits", "fits_not"),
    [
        (["*.py"], ["a.py", "/x/a.py", "/x/y/.py", "/x/a.py/b"], ["a.pyc", "a.py\n"]),
        (["src/**/*.py"], ["/p/src/a.py", "src/a/b/c.py"], ["/p/xsrc/a.py", "/p/src/a.txt"]),
        (["/abs/path/**"], ["/abs/path/a", "/abs/path/a/b"], ["/x/abs/path/a", "/abs/pathetic/a"]),
        (["/abs/path"], ["/abs/path", "/abs/path/a/b"], ["/x/abs/path/a", "/abs/pathetic/a"]),
        (["**"], ["a", "/a/b"], []),
        (["docs/"], ["/p/docs/a.md", "docs/x/y"], ["/p/docs", "/p/mydocs/a"]),
        (["docs"], ["/p/docs/a.md", "docs/x/y", "/p/docs"], ["/p/mydocs/a"]),
        (["p/docs"], ["/p/docs/a.md", "/x/p/docs/y"], ["/p/a/docs/x"]),
        (["a?c"], ["abc", "/x/a.c"], ["a/c", "ac", "abbc"]),
        (["[a-c]x"], ["ax", "/y/cx"], ["dx", "-x"]),
        (["[!a-c]x"], ["dx"], ["ax", "/x"]),
        (["*.{md,rst}"], ["a.md", "/x/b.rst"], ["a.txt", "a.{md,rst}"]),
        (["*.md", "*.py"], ["a.md", "a.py"], ["a.txt"]),
        (["*.md", "!README.md"], ["/x/a.md"], ["/x/README.md", "a.txt"]),
        (["!drafts"], ["/x/a.md"], ["/x/drafts/a.md", "/x/drafts/b/c"]),
        (["!drafts", "*.md"], ["/x/a.md"], ["/x/drafts/a.md", "/x/a.txt"]),
        (["docs", "!docs/old", "docs/old/a.md"], ["/docs/a"], ["/docs/old/b", "/docs/old/a.md"]),
        (["**/x/**/y"], ["x/y", "a/x/b/c/y"], ["ax/y", "x/by"]),
        (["term.1+2"], ["term.1+2"], ["termx1+2"]),
        (["Ä*"], ["/x/Äpfel"], ["Apfel"]),
        ([r"\*a"], ["*a"], ["ba"]),
    ],
)
def test_what_is_taken_of_paths_that_begin_anywhere(patterns: list[str], fits: list[str], fits_not: list[str]) -> None:
    selection = Selection(patterns)
    assert [path for path in fits if not selection.takes(path)] == []
    assert [path for path in fits_not if selection.takes(path)] == []


def test_a_relative_path_with_a_dot_begins_at_the_current_folder(project: Path) -> None:
    selection = Selection(["./src/*.yaml", "../p/docs"])
    real = os.path.realpath(project)
    assert selection.takes(f"{real}/src/g.yaml")
    assert selection.takes(f"{real}/docs/drafts/c.md")
    assert not selection.takes(f"/elsewhere{real}/src/g.yaml")
    assert selection.unmatched() == []


def test_selections_agree_where_a_folder_is_walked_and_where_paths_are_given(project: Path) -> None:
    real = os.path.realpath(project)
    for patterns in (["docs"], ["*.md", "!drafts"], ["!*.md"], ["src/**/Foo"], ["v/", "!f.py"]):
        selection = Selection(patterns)
        assert {name for name in FILES if selection.takes(f"{real}/{name}")} == taken(".", include=patterns)


@pytest.mark.parametrize("part", ["*a", "**a", "**/a*", "{a,b}*"])
def test_no_pattern_takes_exponential_time(part: str) -> None:
    began = time.process_time()
    assert not Selection([part * 8 + "b"]).takes("/".join(["a" * 30] * 30))
    assert not Selection(["a"]).takes("/".join("b" * 2000))  # deeper than Python's own stack
    assert time.process_time() - began < 20


@pytest.mark.parametrize("pattern", ["", "!", " ", "/", "!/"])
def test_a_pattern_that_names_nothing_is_wrong_usage(pattern: str) -> None:
    with pytest.raises(UsageError, match="names nothing"):
        Selection([pattern])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.md", ["*.md"]),
        ("*.{md,rst}", ["*.md", "*.rst"]),
        ("{a,b}{c,d}", ["ac", "ad", "bc", "bd"]),
        ("a{b,c{d,e}}f", ["abf", "acdf", "acef"]),
        ("a{,b}", ["a", "ab"]),
        ("{a}", ["{a}"]),
        ("{{cookiecutter.name}}", ["{{cookiecutter.name}}"]),
        (r"\{a,b}", [r"\{a,b}"]),
        ("[{]a,b}", ["[{]a,b}"]),
        ("{a,b", ["{a,b"]),
        ("a,b}", ["a,b}"]),
        ("!*.{a,b}", ["!*.a", "!*.b"]),
    ],
)
def test_braces(pattern: str, expected: list[str]) -> None:
    assert braces(pattern) == expected


@given(st.text("{},\\a[", max_size=12))
def test_whatever_the_braces_there_is_a_pattern(pattern: str) -> None:
    assert braces(pattern)


def test_too_many_alternatives_are_wrong_usage() -> None:
    with pytest.raises(UsageError, match="1,000"):
        braces("{a,b}" * 30)


def test_the_command_names_what_matches_nothing_and_what_it_leaves_out(project: Path) -> None:
    shell = Shell(project)
    done = shell.run(
        "index",
        "docs",
        "-vv",
        "--dry-run",
        "--no-cache",
        "--include",
        "*.md",
        "--exclude",
        "non/",
        "--exclude",
        "drafts",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "warning: --exclude 'non/' matches no file or folder: correct it, or leave it out" in lines
    real = os.path.realpath(project)
    assert f"debug: {real}/docs/b.ipynb: left out, not included" in lines
    assert lines.count(f"debug: {real}/docs/drafts: left out, excluded") == 1
    quiet = Shell(project, EMBEDMILL_EXCLUDE="non/").run("index", "docs", "--dry-run", "--no-cache")
    assert "matches no" not in quiet.stderr  # it may be for other runs
