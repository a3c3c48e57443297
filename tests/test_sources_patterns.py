"""Patterns and ignore files, compared with git itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmill.sources.files import FileSource

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
pieces = st.sampled_from(
    [
        "a",
        "b",
        "c",
        ".",
        "/",
        "/",
        "*",
        "*",
        "**",
        "**/",
        "/**",
        "?",
        "[ab]",
        "[!a]",
        "[a-b]",
        "[",
        "]",
        "!",
        "#",
    ]
    + [
        "\\",
        "\\*",
        " ",
        "\\ ",
        "-",
        "[[:alpha:]]",
        "[]a]",
        "[^.]",
        "***",
        "[a",
        "[\\]a]",
        "[b-a]",
        "[[:x:]]",
        "[[:a]",
    ]
)
lines = st.one_of(
    st.lists(names, min_size=1, max_size=3).map("/".join),
    st.builds(str.__add__, st.sampled_from(["", "!", "/"]), st.lists(pieces, max_size=6).map("".join)),
    st.builds(
        "{}{}{}".format, st.sampled_from(["", "!"]), names, st.sampled_from(["", "/", " ", "/*", "/**"])
    ),
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
@settings(max_examples=250, deadline=None)
@given(
    files, st.dictionaries(st.sampled_from(["", "a/", "b/", "a/b/"]), ignore_files, min_size=1), ignore_files
)
def test_lists_what_git_lists(paths: list[str], ignores: dict[str, str], exclude: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        repository(root)
        write(root, dict.fromkeys(paths, "x"))
        write(root, {f"{where}.gitignore": text for where, text in ignores.items()})
        (root / ".git" / "info" / "exclude").write_text(exclude)
        assert listed(root, hidden=True) == listed_by_git(root)
