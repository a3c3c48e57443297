"""What --include and --exclude mean: as in git and ripgrep, from the walked folder and from the current one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_runs import Shell
from embedmill.errors import UsageError
from embedmill.sources.files import FileSource
from embedmill.sources.selection import braces

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
