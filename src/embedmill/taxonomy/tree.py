"""A tree of terms in memory, whatever file it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Path = tuple[str, ...]
"""The names of the branches from below the root down to a branch; empty for the root."""

Taken = tuple[Path, str]
"""What was taken out of a tree: the path of what it stood in, and its text or name."""


@dataclass(eq=False, slots=True)
class Term:
    """A leaf. Two of equal text are two terms."""

    text: str
    """As written."""
    comment: str = ""
    """What stands beside it: synonyms, a gloss, an end-of-line comment; without the sign that begins one."""
    above: list[str] = field(default_factory=list)
    """Lines of comment above it, without the sign that begins one; empty for an empty line."""
    id: str = ""
    """What its file knows it by, where it has identifiers."""
    written: object = None
    """What its format needs to write it as it was, such as its quotes."""


@dataclass(eq=False, slots=True)
class Branch:
    """A node with a name and what is below it, in order; the root's name is empty where its file names none.

    A branch may stand in two places of a tree, as an alias of YAML does: it is one object then. Where the two have
    names of their own, they are two branches with one list of children.
    """

    name: str
    children: list[Branch | Term] = field(default_factory=list)
    comment: str = ""
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    """Lines of comment behind the last of its children, as `above`; those of the root end the file."""
    id: str = ""
    written: object = None

    @property
    def terms(self) -> list[Term]:
        """The terms directly below, in order."""
        return [child for child in self.children if isinstance(child, Term)]

    @property
    def branches(self) -> list[Branch]:
        """The branches directly below, in order."""
        return [child for child in self.children if isinstance(child, Branch)]

    def walk(self) -> Iterator[tuple[Path, Branch]]:
        """Each branch with its path, this one, with an empty path, first; one that stands in two places comes twice."""
        waiting: list[tuple[Path, Branch]] = [((), self)]
        while waiting:
            path, branch = waiting.pop()
            yield path, branch
            waiting += [((*path, child.name), child) for child in reversed(branch.branches)]

    def term_counts(self) -> Counter[str]:
        """How often each term stands in the tree: what no pass may change."""
        return Counter(term.text for _, branch in self.walk() for term in branch.terms)


Tree = Branch
"""A whole tree: its root."""


def below(root: Branch) -> Iterator[tuple[Path, Branch]]:
    """As `Branch.walk`, but each branch once, where it stands first."""
    seen: set[int] = set()
    for path, branch in root.walk():
        if id(branch) not in seen:
            seen.add(id(branch))
            yield path, branch


def lists(root: Branch) -> Iterator[tuple[Path, Branch]]:
    """As `below`, but each list of children once, where two branches share one under names of their own."""
    seen: set[int] = set()
    for path, branch in below(root):
        if id(branch.children) not in seen:
            seen.add(id(branch.children))
            yield path, branch


def name_of(child: Branch | Term) -> str:
    """A term's text, a branch's name."""
    return child.name if isinstance(child, Branch) else child.text


def shown(path: Path) -> str:
    """A path for people."""
    return " > ".join(path) if path else "the top"


def embedded_text(node: Branch | Term) -> str:
    """What is embedded of a term or a branch: with synonyms its place is found far better (benchmarks/README.md)."""
    name = name_of(node)
    return f"{name}, {node.comment}" if node.comment else name


def distinct(root: Branch) -> Iterator[Branch]:
    """Each branch once, where it stands first, the root before all."""
    return (branch for _, branch in below(root))


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, with a number where it is taken; case makes no difference."""
    known = {each.casefold() for each in taken}
    number, found = 2, name
    while found.casefold() in known:
        found = f"{name} {number}"
        number += 1
    return found
