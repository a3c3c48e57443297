"""What a term or branch of YAML keeps in `written`, beside its text: how its file has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embedmill.taxonomy.tree import Branch, Term

COMMENT_GAP = 2
"""Spaces between a value and the comment beside it, where no file says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class YamlAnchor:
    """What aliases refer to. Two of equal name are two anchors: YAML allows a second one to replace the first."""

    name: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A term, or the key of a branch."""

    text: str
    """What the file has; where a term has another text by now, it is written anew."""
    raw: str
    """How it stands in the file: with quotes and tag, without its anchor."""
    column: int = 0
    """That of the key or dash it belongs to, from 0, or -1: lines after the first are moved together with it."""
    anchor: YamlAnchor | None = None
    gap: int = COMMENT_GAP
    """Spaces between it and the comment beside it."""


@dataclass(frozen=True, slots=True, eq=False)
class AnchoredItem:
    """A mapping that is an item of a list and has an anchor: its aliases are items with the same branches."""

    anchor: YamlAnchor
    members: list[Branch]


@dataclass(slots=True)
class Layout:
    """A branch."""

    key: Scalar
    kind: Literal["map", "list", "scalar", "empty"] = "empty"
    flow: bool = False
    """In brackets, on one line."""
    raw: str = ""
    """An empty value as it stands: nothing, `~`, `null`."""
    tag: str = ""
    anchor: YamlAnchor | None = None
    """Of the value."""
    alias_of: YamlAnchor | None = None
    """What the value was an alias of: its name, should this branch come to stand before that one."""
    indent: int | None = None
    """The column of the children less that of the key; None where the file does not tell."""
    dash: int | None = None
    """From the dash of a list to what stands behind it, in columns; None where the file does not tell."""
    gap: int = COMMENT_GAP
    braced: bool = False
    """It begins an item of a list that is in braces, on one line."""
    item: AnchoredItem | None = None
    """What it is the first branch of."""
    joined: bool = False
    """In one item of a list with the branch before it."""


@dataclass(slots=True)
class FileLayout(Layout):
    """The root."""

    head: str = ""
    """The lines up to `---`, where the file has them."""
    tail: str = ""
    """The lines from `...`, where the file has them."""
    line_end: str = "\n"
    map_indent: int = 2
    """What `indent` is for new branches of branches, as the file has it first."""
    list_indent: int = 2
    list_dash: int = 2


def layout_of(branch: Branch) -> Layout:
    """That of a branch that was read from YAML."""
    assert isinstance(branch.written, Layout)
    return branch.written


def item_at(children: list[Branch | Term], place: int) -> AnchoredItem | None:
    """The item with an anchor that begins at this place of a list, if all of its branches are still there."""
    written = children[place].written
    item = written.item if isinstance(written, Layout) else None
    if item is None:
        return None
    found = children[place : place + len(item.members)]
    is_whole = len(found) == len(item.members) and all(a is b for a, b in zip(found, item.members, strict=True))
    return item if is_whole else None
