"""A tree to YAML, line by line, each with the comments, quotes and indentation that it was read with.

Not by a round-trip dumper: that attaches each comment to the token before it, has one indentation for all of a file,
and goes by recursion, which ends at some hundred levels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from embedmill.taxonomy.formats.signs import sign
from embedmill.taxonomy.formats.yaml.layout import (
    COMMENT_GAP,
    AnchoredItem,
    FileLayout,
    Layout,
    Scalar,
    YamlAnchor,
    item_at,
)
from embedmill.taxonomy.formats.yaml.scalars import as_written, scalar
from embedmill.taxonomy.tree import Branch, Term

_LONGEST_KEY: Final = 1000  # characters: YAML allows 1024 before a colon
_MOST_BRACKETS: Final = 20  # one in another: what is deeper goes on lines of its own

_BLOCK: Final = re.compile(r"(?:[&!]\S*\s+)*[|>][^\n]*\n")

_Lines = Iterator["_Lines"]


def write(tree: Branch) -> str:
    """The tree as YAML. What has been read from YAML and not changed is written as it was."""
    root = Branch("", [tree]) if tree.name else tree
    return _Writer(root).text()


class _Writer:
    def __init__(self, root: Branch) -> None:
        self._root = root
        self._file = root.written if isinstance(root.written, FileLayout) else FileLayout(Scalar("", ""))
        self._lines: list[str] = []
        self._anchors: dict[int, YamlAnchor] = {}  # by the identity of a list of children: those written
        self._terms: dict[YamlAnchor, str] = {}  # the anchors of terms that are written, with their texts
        self._names: dict[str, YamlAnchor] = {}  # what a name stands for just now
        self._shared = _shared(root)

    def text(self) -> str:
        """All of it."""
        root, layout = self._root, self._file
        if layout.head:
            self._lines += layout.head.removesuffix("\n").split("\n")
        self._comment_lines(root.above, 0)
        waiting = [self._document()]
        while waiting:  # and no recursion: a tree may be deeper than the stack
            inner = next(waiting[-1], None)
            if inner is None:
                waiting.pop()
            else:
                waiting.append(inner)
        if layout.tail:
            self._lines += layout.tail.removesuffix("\n").split("\n")
        return "".join(f"{line}\n" for line in self._lines).replace("\n", layout.line_end)

    def _document(self) -> _Lines:
        root, layout = self._root, self._file
        kind = _kind(root)
        if kind == "scalar":
            term = root.terms[0]
            text = self._term(term, -1)
            text = scalar(term.text) if text.startswith(("---", "...", "%")) else text  # these mean something here
            self._comment_lines([root.comment] if root.comment else [], 0)
            self._scalar_line("", text, term.comment, _gap(term))
        elif layout.flow and self._fits_brackets(root):
            self._line(self._in_brackets(root), root.comment, layout.gap)
        elif root.children:
            self._comment_lines([root.comment] if root.comment else [], 0)
            yield self._children(root, layout.indent or 0, kind)
            return
        self._comment_lines(root.below, 0)

    def _children(self, branch: Branch, column: int, kind: str) -> _Lines:
        layout = branch.written if isinstance(branch.written, Layout) else None
        dash = (layout.dash if layout else None) or self._file.list_dash
        names: set[str] | None = None  # of the mapping that is being written in an item
        place = -1
        while place + 1 < len(branch.children):
            place += 1
            child = branch.children[place]
            if isinstance(child, Term):
                names = None
                self._list_term(child, column, dash)
                continue
            written = child.written if isinstance(child.written, Layout) else None
            joined = names is not None and written is not None and written.joined and child.name not in names
            inner = " " * (column if kind == "map" else column + dash)
            item = item_at(branch.children, place) if kind == "list" and not joined else None
            if item and self._names.get(item.anchor.name) is item.anchor:
                self._line(f"{_dashed(column, dash)}*{item.anchor.name}", "", 0)
                place, names = place + len(item.members) - 1, None
                continue
            self._comment_lines(child.above, len(inner) if joined else column)
            prefix = inner
            if kind == "list" and not joined:
                prefix, names = _dashed(column, dash), set()
                passed = self._item_in_braces(branch.children, place, prefix, item)
                if passed:
                    place, names = place + passed - 1, None
                    continue
                if item and self._begin_item(prefix, item):
                    prefix = inner
            if names is not None:
                names.add(child.name)
            yield from self._branch(child, prefix)
        self._comment_lines(branch.below, column)

    def _item_in_braces(self, children: list[Branch | Term], place: int, prefix: str, item: AnchoredItem | None) -> int:
        """Write an item that is in braces; gives the number of its branches, 0 where it is not, or cannot be."""
        group = _item(children, place)
        written = group[0].written
        if not isinstance(written, Layout) or not written.braced or any(each.above for each in group[1:]):
            return 0
        if not all(self._fits_brackets(each) for each in group) or any(each.comment for each in group[1:]):
            return 0
        anchor = ""
        if item and item.anchor.name not in self._names:
            self._names[item.anchor.name] = item.anchor
            anchor = f"&{item.anchor.name} "
        self._line(f"{prefix}{anchor}{self._braces(group)}", group[0].comment, written.gap)
        return len(group)

    def _begin_item(self, prefix: str, item: AnchoredItem) -> bool:
        """Write the anchor of an item, on the line of its dash, if its name is free."""
        if item.anchor.name in self._names:
            return False
        self._names[item.anchor.name] = item.anchor
        self._line(f"{prefix}&{item.anchor.name}", "", 0)
        return True

    def _list_term(self, term: Term, column: int, dash: int) -> None:
        self._comment_lines(term.above, column)
        self._scalar_line(_dashed(column, dash), self._term(term, column), term.comment, _gap(term))

    def _branch(self, branch: Branch, prefix: str) -> _Lines:
        layout = branch.written if isinstance(branch.written, Layout) else None
        column, beside, gap = len(prefix), branch.comment, layout.gap if layout else COMMENT_GAP
        key = self._key(branch, column)
        if len(key) > _LONGEST_KEY:
            self._line(f"{prefix}? {key}", beside, gap)
            prefix, key, beside = " " * column, "", ""
        kind = _kind(branch)
        shared = self._anchor(branch)
        head = f"{prefix}{key}:"
        if shared and self._anchors.get(id(branch.children)) is shared:
            self._line(f"{head} *{shared.name}", beside, gap)
            self._comment_lines(branch.below, self._indented(branch, column, "list"))
            return
        if kind == "scalar":
            term = branch.terms[0]
            beside, gap = (beside, gap) if beside else (term.comment, _gap(term))
            self._scalar_line(f"{head} ", self._term(term, column), beside, gap)
            self._comment_lines(branch.below, self._indented(branch, column, "list"))
            return
        if shared:
            self._anchors[id(branch.children)] = shared
            head += f" &{shared.name}"
        if layout and layout.tag and branch.children:
            head += f" {layout.tag}"
        if not branch.children or (layout and layout.flow and self._fits_brackets(branch)):
            value = self._in_brackets(branch) if branch.children else _empty(layout)
            self._line(f"{head} {value}" if value else head, beside, gap)
            self._comment_lines(branch.below, self._indented(branch, column, "list"))
            return
        self._line(head, beside, gap)
        yield self._children(branch, self._indented(branch, column, kind), kind)

    def _indented(self, branch: Branch, column: int, kind: str) -> int:
        """Where the children of a branch begin."""
        layout = branch.written if isinstance(branch.written, Layout) else None
        own = layout.indent if layout and layout.kind == kind else None
        if own is None:
            own = self._file.map_indent if kind == "map" else self._file.list_indent
        return column + own

    def _key(self, branch: Branch, column: int, brackets: bool = False) -> str:
        layout = branch.written if isinstance(branch.written, Layout) else None
        key = self._scalar(branch.name, layout.key if layout else None, column, brackets)
        return f"{key} " if key.startswith("*") else key

    def _term(self, term: Term, column: int, brackets: bool = False) -> str:
        written = term.written if isinstance(term.written, Scalar) else None
        return self._scalar(term.text, written, column, brackets)

    def _scalar(self, text: str, written: Scalar | None, column: int, brackets: bool) -> str:
        if written is None:
            return scalar(text, brackets=brackets)
        anchor, prefix = written.anchor, ""
        if anchor:
            if self._terms.get(anchor) == text and self._names.get(anchor.name) is anchor:
                return f"*{anchor.name}"
            if anchor not in self._terms and anchor.name not in self._names:
                self._terms[anchor], self._names[anchor.name] = text, anchor
                prefix = f"&{anchor.name} "
        if written.text == text and written.raw and as_written(written.raw, brackets=brackets):
            return prefix + _moved(written.raw, column - written.column)
        return prefix + scalar(text, like=written.raw, brackets=brackets)

    def _anchor(self, branch: Branch) -> YamlAnchor | None:
        """The anchor of a branch that has one or needs one, its name not that of another."""
        layout = branch.written if isinstance(branch.written, Layout) else None
        known = self._anchors.get(id(branch.children))
        is_shared = id(branch.children) in self._shared
        own = (layout.anchor or (layout.alias_of if is_shared else None)) if layout else None
        if known or not branch.children or not (own or is_shared):
            return known
        name = own.name if own else "id001"
        number = 1
        while name in self._names:
            number += 1
            name = f"{own.name}_{number}" if own else f"id{number:03}"
        found = self._names[name] = own if own and own.name == name else YamlAnchor(name)
        return found

    def _fits_brackets(self, branch: Branch) -> bool:
        """Whether all below a branch can be in brackets: nothing in it has a comment, or stands twice."""
        waiting = [(branch, 0)]
        while waiting:
            each, depth = waiting.pop()
            if depth > _MOST_BRACKETS or (each.below and each is not branch):
                return False
            for child in each.children:
                written = child.written
                if child.comment or child.above or (isinstance(written, Scalar) and written.raw[:1] in ("|", ">")):
                    return False
                if isinstance(child, Branch):
                    if id(child.children) in self._shared:
                        return False
                    waiting.append((child, depth + 1))
        return True

    def _in_brackets(self, branch: Branch) -> str:
        """The children of a branch on one line; at most `_MOST_BRACKETS` deep."""
        if not branch.children:
            return _empty(branch.written if isinstance(branch.written, Layout) else None) or "[]"
        kind = _kind(branch)
        if kind == "scalar":
            return self._term(branch.terms[0], 0, brackets=True)
        if kind == "map":
            return self._braces(branch.branches)
        parts: list[str] = []
        place = 0
        while place < len(branch.children):
            child = branch.children[place]
            group = [] if isinstance(child, Term) else _item(branch.children, place)
            parts.append(self._term(child, 0, brackets=True) if isinstance(child, Term) else self._braces(group))
            place += max(1, len(group))
        return f"[{', '.join(parts)}]"

    def _braces(self, group: list[Branch]) -> str:
        return f"{{{', '.join(f'{self._key(each, 0, True)}: {self._in_brackets(each)}' for each in group)}}}"

    def _line(self, text: str, comment: str, gap: int) -> None:
        beside = sign(comment.replace("\n", " "))
        self._lines += (f"{text}{' ' * max(1, gap)}{beside}" if beside else text).split("\n")

    def _scalar_line(self, prefix: str, text: str, comment: str, gap: int) -> None:
        """A line that ends with a scalar; behind a block of text there can be no comment, so it goes above."""
        if comment and _BLOCK.match(text):
            self._comment_lines([comment], len(prefix) - len(prefix.lstrip(" ")))
            comment = ""
        self._line(prefix + text, comment, gap)

    def _comment_lines(self, comments: list[str], column: int) -> None:
        for each in comments:
            for line in each.split("\n"):
                self._lines.append(" " * column + sign(line) if line else "")


def _shared(root: Branch) -> set[int]:
    """The identities of the lists of children that stand in more than one place."""
    seen: Counter[int] = Counter()
    items: set[int] = set()
    waiting = [root]
    while waiting:
        branch = waiting.pop()
        seen[id(branch.children)] += 1
        if seen[id(branch.children)] > 1:
            continue
        is_list, skipped = _kind(branch) == "list", 0
        for place, child in enumerate(branch.children):
            item = item_at(branch.children, place) if is_list else None
            if item and id(item) in items:
                skipped = place + len(item.members)  # written as an alias
            elif item:
                items.add(id(item))
            if isinstance(child, Branch) and place >= skipped:
                waiting.append(child)
    return {each for each, times in seen.items() if times > 1}


def _kind(branch: Branch) -> str:
    """How the children of a branch are to be written: "map", "list" or "scalar"."""
    layout = branch.written if isinstance(branch.written, Layout) else None
    kind = layout.kind if layout else ""
    terms = branch.terms
    if terms:
        lone = kind == "scalar" and len(branch.children) == 1 and not terms[0].above
        return "scalar" if lone and not (branch.comment and terms[0].comment) else "list"
    names = [child.name for child in branch.branches]
    return "list" if kind == "list" or len(set(names)) < len(names) else "map"


def _item(children: list[Branch | Term], place: int) -> list[Branch]:
    """The branches of the item of a list that begins here."""
    group: dict[str, Branch] = {}
    for at in range(place, len(children)):
        child = children[at]
        if isinstance(child, Term) or child.name in group:
            break
        if group and not (isinstance(child.written, Layout) and child.written.joined):
            break
        group[child.name] = child
    return list(group.values())


def _dashed(column: int, dash: int) -> str:
    return " " * column + "-" + " " * (dash - 1)


def _gap(term: Term) -> int:
    return term.written.gap if isinstance(term.written, Scalar) else COMMENT_GAP


def _empty(layout: Layout | None) -> str:
    if layout is None or layout.kind == "scalar":
        return ""
    if layout.flow:
        return "{}" if layout.kind == "map" else "[]"
    return layout.raw


def _moved(raw: str, by: int) -> str:
    """A scalar of more than one line, moved to the right or left with what it belongs to."""
    first, *lines = raw.split("\n")
    if not lines or not by:
        return raw
    if by > 0:
        return "\n".join([first, *(" " * by + line if line.strip(" ") else line for line in lines)])
    return "\n".join([first, *(line[min(-by, len(line) - len(line.lstrip(" "))) :] for line in lines)])
