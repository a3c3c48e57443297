"""A folder of text files: a file for the terms of each branch, a folder for its branches."""

from __future__ import annotations

import logging
import re
import unicodedata
from pathlib import Path
from typing import Final

from embedmill.core.errors import SourceError, UsageError
from embedmill.taxonomy.formats import flat
from embedmill.taxonomy.formats.text import decode
from embedmill.taxonomy.tree import Branch

log = logging.getLogger(__name__)

ROOT_TERMS: Final = "terms"
"""The file of the terms that are in no branch."""

_UNSAFE: Final = re.compile(r"[^\w .,'()&+=@-]")
_RESERVED: Final = re.compile(r"(?i)(?:con|prn|aux|nul|com\d|lpt\d)(?=\.|$)")
_LONGEST: Final = 100  # bytes: file systems allow 255, and paths are joined of many


def read(folder: Path) -> Branch:
    """The tree of a folder: of a file its terms, of a folder its branches, by their names and in their order.

    What is hidden, a link, or no ``.txt`` file is left out. Raises `SourceError` where something cannot be read, and
    where there are no terms.
    """
    root = Branch("")
    waiting = [(root, folder)]
    others = 0
    while waiting:
        branch, place = waiting.pop()
        below: dict[str, Branch] = {}
        for path in _entries(place):
            name = path.stem if path.is_file() else path.name
            if path.is_file() and path.suffix.casefold() != ".txt":
                others += 1
                continue
            inner = branch if place == folder and path.name == f"{ROOT_TERMS}.txt" else below.get(name)
            if inner is None:
                inner = below[name] = Branch(name)
                branch.children.append(inner)
            if path.is_dir():
                waiting.append((inner, path))
            else:
                _take_terms(path, inner)
    if not root.term_counts():
        raise SourceError(f"{folder} has no terms: give a folder with .txt files, a term in each line")
    if others:
        log.warning("%s: files that do not end in .txt are left out: %d", folder, others)
    return root


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, in order, but for links and what is hidden."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_symlink()]
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}") from error
    return sorted(found, key=lambda path: (path.stem if path.is_file() else path.name, path.is_dir()))


def _take_terms(path: Path, branch: Branch) -> None:
    try:
        file = decode(path.name, path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if file.text.strip():
        terms = flat.read(file)
        branch.children[:0] = terms.children
        branch.above += terms.above


def write(tree: Branch, folder: Path) -> list[Path]:
    """Write the tree into a new folder, or an empty one; gives the files written.

    Names are made safe for any file system; of two that fall together, the second has a number. Raises `UsageError`
    where the folder has something in it, or a term cannot stand in a list, and `SourceError` where writing fails.
    """
    files = _files(Branch("", [tree]) if tree.name else tree)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty: give a new folder")
        for path, content in files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content.encode())
    except OSError as error:
        raise SourceError(f"{folder} cannot be written: {error.strerror}") from error
    return [folder / path for path, _ in files]


def _files(root: Branch) -> list[tuple[Path, str]]:
    """Where each list of terms goes, and its text; all is known before anything is written."""
    found: list[tuple[Path, str]] = []
    waiting: list[tuple[Branch, Path, str]] = [(root, Path(), ROOT_TERMS)]
    while waiting:
        branch, folder, stem = waiting.pop()
        inner = folder if branch is root else folder / stem
        terms = branch.terms
        if terms or not branch.children:
            found.append((folder / f"{stem}.txt", _text(branch, stem)))
        taken = _spellings(ROOT_TERMS) if branch is root and terms else set()
        below: list[tuple[Branch, Path, str]] = []
        for child in branch.branches:
            name = _told_apart(safe_name(child.name), taken)
            taken |= _spellings(name)
            below.append((child, inner, name))
        waiting += reversed(below)
    return found


def _text(branch: Branch, stem: str) -> str:
    try:
        return "".join(f"{line}\n" for line in flat.lines(branch.terms))
    except ValueError as error:
        what = "it begins or ends with a space, begins with #, or has ` # ` or a line end in it"
        raise UsageError(
            f"the term {error.args[0]!r:.100} of {stem} cannot stand in a text file: {what}; write YAML"
        ) from None


def safe_name(name: str) -> str:
    """A name for a file or folder that every system takes, and that leads nowhere else."""
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).strip(" .")
    safe = safe.encode()[:_LONGEST].decode(errors="ignore").strip(" .")
    return f"_{safe}" if not safe or _RESERVED.match(safe) else safe


def _told_apart(name: str, taken: set[str]) -> str:
    number, found = 1, name
    while _spellings(found) & taken:
        number += 1
        found = f"{name} ({number})"
    return found


def _spellings(name: str) -> set[str]:
    """What a branch's folder and file are called, as a file system sees it that takes no note of case."""
    return {unicodedata.normalize("NFC", each.casefold()) for each in (name, f"{name}.txt")}
