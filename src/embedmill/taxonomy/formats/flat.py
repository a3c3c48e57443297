"""A flat list: one term a line. A line that begins with `#` is a comment, and so is what follows ` # ` in one."""

from __future__ import annotations

import re
from typing import Final

from embedmill.taxonomy.formats.signs import content, sign
from embedmill.taxonomy.formats.text import FileText, unwritable
from embedmill.taxonomy.tree import Branch, Term

_SPACE: Final = " \t"
_BESIDE: Final = re.compile(r"(?<=[^ \t])[ \t]+#[ \t]+")


def fits(file: FileText) -> bool:
    """Whether this is a flat list: any text may be one."""
    return bool(file.text.strip())


def read(file: FileText) -> Branch:
    """The terms of a list, below a root without branches. Raises `SourceError` where there are none."""
    root = Branch("")
    above: list[str] = []
    for line in file.text.split("\n"):
        inner = line.strip(_SPACE)
        if not inner or inner.startswith("#"):
            above.append(content(inner))
            continue
        if not root.children and "" in above:  # a block up to an empty line is about the file
            end = len(above) - above[::-1].index("")
            root.above, above = above[:end], above[end:]
        text, *comment = _BESIDE.split(inner, maxsplit=1)
        root.children.append(Term(text, "".join(comment), above))
        above = []
    if not root.children:
        raise file.no_terms()
    while above and not above[-1]:
        above.pop()
    root.below = above
    return root


def lines(terms: list[Term]) -> list[str]:
    """Terms as lines that `read` gives them back from.

    Raises `ValueError`, with the term, for one that would be read as another or as a comment.
    """
    written: list[str] = []
    for term in terms:
        written += [sign(each) for line in term.above for each in line.split("\n")]
        text, comment = term.text, sign(" ".join(term.comment.split())).removeprefix("# ")
        if not text or text != text.strip(_SPACE) or text.startswith("#") or _BESIDE.search(text) or unwritable(text):
            raise ValueError(text)
        written.append(f"{text} # {comment}" if comment else text)
    return written
