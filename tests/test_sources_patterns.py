"""Patterns and ignore files, compared with git itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmill.sources.files.gitignore import Patterns
from embedmill.sources.files.source import FileSource

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

GIT_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "XDG_CONFIG_HOME": os.devnull,
    "HOME": os.devnull,
}

# Few letters, so that names and patterns meet.
names = st.text("ab.c", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
files = st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12)
PIECES = r"""
a b c . / / * * ** **/ /** ? [ab] [!a] [a-b] [ ] ! #
\ \* - [[:alpha:]] []a] [^.] *** [a [\]a] [b-a] [[:x:]] [[:a]
"""
pieces = st.sampled_from([*PIECES.split(), " ", "\\ "])
lines = st.one_of(
    st.lists(names, min_size=1, max_size=3).map("/".join),
    st.builds(str.__add__, st.sampled_from(["", "!", "/"]), st.lists(pieces, max_size=6).map("".join)),
    st.builds("{}{}{}".format, st.sampled_from(["", "!"]), names, st.sampled_from(["", "/", " ", "/*", "/**"])),
)
ignore_files = st.lists(lines, max_size=6).map("\n".join)


def repository(root: Path) -> None:
    """As little as git takes for one; `git init` would take half of the test's time."""
    for folder in ("objects", "refs", "info"):
        (root / ".git" / folder).mkdir(parents=True)
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")


def listed_by_git(root: Path) -> list[str]:
    command = ["git", "ls-files", "-z", "--others", "--exclude-standard"]
    output = subprocess.run(command, cwd=root, env=GIT_ENVIRONMENT, check=True, capture_output=True).stdout
    return sorted(os.fsdecode(name) for name in output.split(b"\0") if name)


def listed(root: Path, **options: bool) -> list[str]:
    start = len(os.path.realpath(root)) + 1
    return sorted(entry.id[start:] for entry in FileSource([root], **options).entries())


def write(root: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            pass  # another of the random files has that name for a folder


@needs_git
@settings(max_examples=150, deadline=None)
@given(files, st.dictionaries(st.sampled_from(["", "a/", "b/", "a/b/"]), ignore_files, min_size=1), ignore_files)
def test_lists_what_git_lists(paths: list[str], ignores: dict[str, str], exclude: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        repository(root)
        write(root, dict.fromkeys(paths, "x"))
        write(root, {f"{where}.gitignore": text for where, text in ignores.items()})
        (root / ".git" / "info" / "exclude").write_text(exclude)
        assert listed(root, hidden=True) == listed_by_git(root)


@needs_git
def test_what_pathspec_gets_wrong(tmp_path: Path) -> None:
    repository(tmp_path)
    write(tmp_path, {".gitignore": "b\n!a\n", "a/b/x": "", "a/c": ""})
    assert listed(tmp_path, hidden=True) == listed_by_git(tmp_path) == [".gitignore", "a/c"]


@needs_git
def test_ignore_files_with_a_mark_carriage_returns_and_trailing_spaces(tmp_path: Path) -> None:
    repository(tmp_path)
    write(tmp_path, dict.fromkeys(["a", "b", "c ", "#d", "!e", "f"], ""))
    (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbfa\r\nb  \nc\\ \n\\#d\n\\!e\n#f")
    assert listed(tmp_path, hidden=True) == listed_by_git(tmp_path) == [".gitignore", "f"]


def test_rules_of_the_folders_above_count_up_to_the_work_trees_top(tmp_path: Path) -> None:
    write(
        tmp_path,
        {".gitignore": "*.md\n", "top/.gitignore": "*.log\n/docs/draft\n", "top/docs/.gitignore": "!x.log"},
    )
    write(
        tmp_path,
        dict.fromkeys(["top/docs/in/a.md", "top/docs/in/a.log", "top/docs/x.log", "top/docs/draft"], "x"),
    )
    docs = tmp_path / "top" / "docs"
    assert listed(docs / "in") == ["a.log", "a.md"]  # in no work tree, nothing above counts
    repository(tmp_path / "top")
    (tmp_path / "top" / ".git" / "info" / "exclude").write_text("in")
    assert listed(docs) == ["x.log"]
    assert listed(docs / "in") == ["a.md"]  # what is given is taken, and the rules count for what is in it


def test_a_repository_in_a_folder_begins_anew(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "*.log\n", ".embedmillignore": "secret\n"})
    write(tmp_path, dict.fromkeys(["a.log", "module/a.log", "module/b.tmp", "module/secret"], "x"))
    repository(tmp_path / "module")
    (tmp_path / "module" / ".git" / "info" / "exclude").write_text("*.tmp\n")
    assert listed(tmp_path) == ["module/a.log"]


@needs_git
def test_the_exclude_file_of_a_linked_work_tree(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        command = ["git", "-C", str(tmp_path / "main"), *identity, *arguments]
        subprocess.run(command, env=GIT_ENVIRONMENT, check=True, capture_output=True)

    (tmp_path / "main").mkdir()
    git("init")
    git("commit", "--allow-empty", "-m", "first")
    git("worktree", "add", "../linked")
    (tmp_path / "main" / ".git" / "info").mkdir(exist_ok=True)
    (tmp_path / "main" / ".git" / "info" / "exclude").write_text("*.log\n")
    write(tmp_path / "linked", {"a.log": "", "a.txt": ""})
    assert listed(tmp_path / "linked") == listed_by_git(tmp_path / "linked") == ["a.txt"]


def test_embedmillignore_wins_over_gitignore(tmp_path: Path) -> None:
    write(tmp_path, {".embedmillignore": "!generated/\n!*.log\n*.txt\n", ".gitignore": "generated/\n*.log\n"})
    write(tmp_path, dict.fromkeys(["generated/a.md", "b.log", "c.txt", "in/d.log"], "x"))
    (tmp_path / "in" / ".gitignore").write_text("!../c.txt\n*.log")
    assert listed(tmp_path) == ["b.log", "generated/a.md", "in/d.log"]


def test_an_ignore_file_that_is_a_link_a_pipe_or_a_folder_says_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"rules": "*.md", "a.md": "", "b/a.md": "", "c/a.md": ""})
    (tmp_path / ".gitignore").symlink_to("rules")
    os.mkfifo(tmp_path / "b" / ".gitignore")
    (tmp_path / "c" / ".gitignore").mkdir()
    assert listed(tmp_path) == ["a.md", "b/a.md", "c/a.md", "rules"]


def test_time_is_linear_in_the_name_whatever_the_pattern() -> None:
    hostile = ["*a" * 40 + "b", "**/a*/" * 20 + "b", "**/*a/" * 20 + "b"]
    patterns = Patterns(hostile, "/")

    def seconds(length: int) -> float:
        begun = time.process_time()
        for _ in range(5):
            assert patterns.verdict("/a" * length + "/" + "a" * length, is_folder=False) is None
        return time.process_time() - begun

    seconds(100)
    assert seconds(2000) < 400 * seconds(100)  # 20 times as long; a star that tries again takes 20 ** 40 times
