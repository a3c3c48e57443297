"""The dictionary of ImageNet's classes: index and names. Its synonyms cannot be told apart, so a term is the line."""

from __future__ import annotations

import re
from typing import Final

from embedmill.taxonomy.formats.text import FileText
from embedmill.taxonomy.tree import Branch, Term

_LINE: Final = re.compile(r"(\d+)\t(.*\S.*)")


def fits(file: FileText) -> bool:
    """Whether each line begins with its number, from 0, and a tab."""
    lines = file.text.rstrip("\n").split("\n")
    return all(line.startswith(f"{number}\t") for number, line in enumerate(lines))


def read(file: FileText) -> Branch:
    """The terms, tabs turned into spaces. Raises `SourceError` for a line without a number and a name."""
    root = Branch("")
    for number, line in enumerate(file.text.split("\n"), 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line)
        if not found:
            raise file.wrong("expected a number, a tab and names", number)
        root.children.append(Term(found[2].replace("\t", " "), id=found[1]))
    if not root.children:
        raise file.no_terms()
    return root
