"""One thing that may be wrong with a tree, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from embedmill.taxonomy.tree import Path

Kind = Literal[
    "double", "sense", "spelling", "near-double", "outlier", "repeats-parent", "too-long", "empty", "unreadable"
]

KINDS: Final[dict[Kind, str]] = {
    "double": "a term that stands twice, among the same neighbours",
    "sense": "a term that stands in two places, among other neighbours: it may mean two things",
    "spelling": "terms that differ in case, plural, accents or signs alone",
    "near-double": "terms of one list that mean nearly the same",
    "outlier": "a term far from its siblings",
    "repeats-parent": "a branch that repeats its parent's name",
    "too-long": "a list with more terms than --max-leaf",
    "empty": "a branch with nothing below it",
    "unreadable": "a file that cannot be read",
}


@dataclass(frozen=True, slots=True)
class LintFinding:
    """What was found; a word in several places is one finding with all of them."""

    kind: Kind
    terms: tuple[str, ...]
    """As written: the term or the terms, or the branch's name."""
    paths: tuple[Path, ...]
    """Of the branches that they stand in, one for each place."""
    message: str
    score: float | None = None
    """A cosine for near-doubles; for outliers how far below the bound it is."""
    better: Path | None = None
    """Where an outlier would be nearer to its siblings, if anywhere."""
    fixable: bool = False
    """Whether `--fix` mends it."""
