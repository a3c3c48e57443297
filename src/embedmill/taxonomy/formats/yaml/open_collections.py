"""Mappings and lists of YAML while they are read, and how far they are indented."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from embedmill.taxonomy.formats.yaml.layout import FileLayout, YamlAnchor, layout_of
from embedmill.taxonomy.tree import Branch, Term


@dataclass(slots=True)
class OpenCollection:
    """A mapping or list that has begun. An item is a mapping in a list: its keys are branches of the list's branch."""

    branch: Branch
    kind: Literal["map", "list", "item"]
    start: Any
    """Where it begins: a mark of ruamel.yaml."""
    flow: bool
    anchor: YamlAnchor | None = None
    key: Branch | None = None
    """The branch that waits for its value."""
    members: dict[str, Branch] = field(default_factory=dict)
    """By their keys."""
    column: int = -1
    """Of its keys or dashes, once there is one that tells."""
    size: int = 0
    """Terms and branches, those of aliases counted where they stand."""


class Anchored(NamedTuple):
    """What an anchor stands for."""

    anchor: YamlAnchor
    node: Term | Branch | list[Branch] | None
    """A term, a branch for its children, the branches of an item; None: nothing."""
    size: int


class Indentation:
    """Notes the columns of keys and dashes; the first of each kind are the file's, for new branches."""

    def __init__(self, source: str, file: FileLayout) -> None:
        self._source, self._file = source, file
        self._noted: set[str] = set()

    def column(self, mark: Any) -> int:
        """Where what begins at this mark has its column: at the question mark before a key, where there is one."""
        before = self._source[mark.index - mark.column : mark.index].rstrip()
        return len(before) - 1 if before.endswith("?") else int(mark.column)

    def key(self, frame: OpenCollection, column: int) -> None:
        """A key of this mapping begins in this column."""
        if frame.column < 0 and not frame.flow:
            frame.column = column
            if frame.kind == "map":
                self._indent(frame)

    def item(self, frame: OpenCollection, mark: Any) -> None:
        """An item of this list begins here; nothing is noted where its dash is on another line."""
        if frame.flow or frame.column >= 0:
            return
        column = self.column(mark)
        before = self._source[mark.index - mark.column : mark.index - mark.column + column]
        if before.strip() != "-":
            return
        frame.column = before.index("-")
        layout = layout_of(frame.branch)
        layout.dash = column - frame.column
        if "dash" not in self._noted:
            self._noted.add("dash")
            self._file.list_dash = layout.dash
        self._indent(frame)

    def _indent(self, frame: OpenCollection) -> None:
        layout = layout_of(frame.branch)
        if layout is self._file:
            layout.indent = frame.column
            return
        layout.indent = frame.column - layout.key.column
        if layout.kind not in self._noted:
            self._noted.add(layout.kind)
            if layout.kind == "map":
                self._file.map_indent = layout.indent
            else:
                self._file.list_indent = layout.indent
