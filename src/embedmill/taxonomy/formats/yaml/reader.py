"""YAML to a tree, from the events of ruamel.yaml's parser: nothing in the file is ever made into a Python object.

A term is what the file has: `no`, `1.0` and `2020-02-02` stay those texts.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from embedmill.core.errors import SourceError
from embedmill.taxonomy.formats.text import FileText
from embedmill.taxonomy.formats.yaml.comments import Comments
from embedmill.taxonomy.formats.yaml.events import events
from embedmill.taxonomy.formats.yaml.layout import AnchoredItem, FileLayout, Layout, Scalar, YamlAnchor, layout_of
from embedmill.taxonomy.formats.yaml.open_collections import Anchored, Indentation, OpenCollection
from embedmill.taxonomy.formats.yaml.runs import NULLS, Kind, Misread, RunPassage, Thinned, thin
from embedmill.taxonomy.tree import Branch, Term

MOST_NODES: Final = 10_000_000
"""Terms and branches of a tree, those of an alias counted where it stands."""

_ANCHOR: Final = re.compile(r"^((?:!\S*\s+)?)&\S+\s*")
_TAGS: Final = re.compile(r"^(?:!\S*\s+)?(?:!\S*$)?")
_TAG: Final = re.compile(r"(?:^|\s)(!\S*)")
_NAMELESS: Final = "a list stands in a list and has no name: give it one, as a key"


def read(file: FileText) -> Branch:
    """The tree in a file of YAML.

    Raises `SourceError` for one that does not parse, has no terms, a key twice, a list without a name, keys that are
    no text, more than one document, or aliases that make more than `MOST_NODES` of it; `MissingExtra`.
    """
    thinned = thin(file.text)
    if thinned.source != file.text:
        try:
            return _Reader(file, thinned).tree()
        except (Misread, SourceError):
            pass  # not the lists that they seemed to be, or an error: it is told of the whole source
    return read_whole(file)


def read_whole(file: FileText) -> Branch:
    """As `read`, with every line of the file parsed."""
    return _Reader(file, Thinned(file.text, {}, {})).tree()


class _Reader:
    def __init__(self, file: FileText, thinned: Thinned) -> None:
        source = thinned.source
        self._file, self._source, self._runs = file, source, RunPassage(thinned.runs)
        self._layout = FileLayout(Scalar("", ""), line_end=file.line_end)
        self._indentation = Indentation(source, self._layout)
        self._root = Branch("", written=self._layout)
        self._shortened = thinned.comments
        self._comments = Comments(source, self._root, self._shortened)
        self._frames: list[OpenCollection] = []
        self._anchors: dict[str, Anchored | None] = {}  # None: not complete
        self._end = 0  # of the last scalar, without the empty lines behind it
        self._key_line = -1  # of the last key
        self._aliases: list[tuple[list[Branch | Term], int, Branch]] = []  # where one stands, and what it stands for

    def tree(self) -> Branch:
        documents = 0
        for event in events(self._file, self._source):
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise self._wrong("a second document begins here: keep one in a file", event.start_mark)
                self._document(event)
            elif kind == "DocumentEndEvent" and event.explicit:
                self._comments.reach(event.start_mark.index)
                self._layout.tail = self._source[event.start_mark.index :]
                self._comments.passed(len(self._source), None)
            elif kind in ("ScalarEvent", "AliasEvent"):
                self._scalar_or_alias(event, kind == "AliasEvent")
            elif kind in ("MappingStartEvent", "SequenceStartEvent"):
                self._start(event, "map" if kind == "MappingStartEvent" else "list")
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                self._finish(event)
        self._comments.reach(len(self._source))
        if self._runs.left or self._runs.is_open or self._shortened:
            raise Misread
        if not self._root.children:
            raise self._file.no_terms()
        self._comments.finish()
        self._unite()
        return self._root

    def _wrong(self, what: str, mark: Any) -> SourceError:
        return self._file.wrong(what, mark.line + 1, mark.column + 1)

    def _document(self, event: Any) -> None:
        if event.explicit:
            end = event.end_mark.index
            line_end = self._source.find("\n", end)
            rest = self._source[end : line_end if line_end >= 0 else len(self._source)]
            end = end + len(rest) if not rest.strip() or rest.lstrip().startswith("#") else end
            self._layout.head = self._source[:end]
            self._comments.passed(end, None)

    def _scalar_or_alias(self, event: Any, is_alias: bool) -> None:
        self._reach(event)
        frame = self._frames[-1] if self._frames else None
        self._end_run(frame, "term" if frame and frame.kind == "list" else "key", event.start_mark)
        known = self._known(event) if is_alias else None
        if frame and frame.kind != "list" and frame.key is None:
            self._key(frame, event, known)
        elif frame and frame.kind == "list":
            self._item(frame, event, known)
        else:
            self._value(frame, event, known)
            if frame:
                self._begin_run(frame, event, known)
                frame.key = None

    def _begin_run(self, frame: OpenCollection, event: Any, known: Anchored | None) -> None:
        """A value has been read: its line may be the first of a run."""
        line = event.start_mark.line
        if known or line != self._key_line:
            return
        self._runs.begin(line, "key", frame)
        if frame.kind == "item" and len(frame.members) == 1:
            self._runs.begin(line, "item", self._frames[-2])

    def _end_run(self, frame: OpenCollection | None, kind: Kind, mark: Any) -> None:
        """Something begins here, before which a run may have been taken out."""
        inner = self._runs.end(mark.line, kind, frame)
        if not frame or not inner:
            return
        frame.branch.children += inner
        self._count(frame, len(inner) if kind == "term" else 2 * len(inner), mark)
        if kind == "key":
            added = {child.name: child for child in inner if isinstance(child, Branch)}
            if len(added) < len(inner) or added.keys() & frame.members.keys():
                raise Misread  # a key stands twice: told of the whole source
            frame.members.update(added)

    def _reach(self, event: Any) -> None:
        if self._runs.is_open:
            self._comments.skip(event.start_mark.index)
        else:
            self._comments.reach(event.start_mark.index)

    def _known(self, event: Any) -> Anchored:
        known = self._anchors.get(event.anchor)
        if known is None:
            what = "stands within what it names" if event.anchor in self._anchors else "has no anchor before it"
            raise self._wrong(f"the alias *{event.anchor} {what}", event.start_mark)
        return known

    def _written(self, event: Any, column: int, known: Anchored | None = None) -> Scalar:
        """A scalar as it stands in the source, and as far as it belongs to it."""
        start, end = event.start_mark.index, event.end_mark.index
        raw = self._source[start:end]
        if known:
            node = known.node
            assert isinstance(node, Term) and isinstance(node.written, Scalar)
            return Scalar(node.text, node.written.raw, column, known.anchor)
        anchor = YamlAnchor(event.anchor) if event.anchor else None
        if event.style in ("|", ">"):
            keeps = "+" in raw.partition("\n")[0].partition("#")[0]
            kept = raw.removesuffix("\n") if keeps else raw.rstrip("\n")
            end = end if keeps else start + len(kept)
            raw = kept if raw.endswith("\n") else ""  # without a line end it is another text than with one
        self._end = end
        return Scalar(event.value, _ANCHOR.sub(r"\1", raw) if anchor else raw, column, anchor)

    def _key(self, frame: OpenCollection, event: Any, known: Anchored | None) -> None:
        mark = event.start_mark
        if known and not isinstance(known.node, Term):
            raise self._wrong("this key is no text: name the branch", mark)
        column = mark.column if frame.flow else self._indentation.column(mark)
        key = self._written(event, column, known)
        if not key.text:
            raise self._wrong("this key is empty: name the branch", mark)
        if "\n" in key.raw:
            key = Scalar(key.text, "", column, key.anchor)  # a key of more than one line: written on one
        if key.text in frame.members:
            raise self._wrong(f"the key {key.text!r} stands twice in one mapping: rename or merge one", mark)
        first = not frame.members
        branch = Branch(key.text, written=Layout(key, joined=frame.kind == "item" and not first))
        frame.members[key.text], frame.key = branch, branch
        frame.branch.children.append(branch)
        self._count(frame, 1, mark)
        self._indentation.key(frame, column)
        if frame.kind == "item" and first:
            self._indentation.item(self._frames[-2], mark)
            column = self._frames[-2].column
        self._comments.begin(branch, column)
        self._remember(key.anchor, Term(key.text, written=key), 1)
        self._key_line = event.end_mark.line
        self._comments.passed(event.end_mark.index, branch)

    def _item(self, frame: OpenCollection, event: Any, known: Anchored | None) -> None:
        mark = event.start_mark
        self._indentation.item(frame, mark)
        if known and isinstance(known.node, Branch) and layout_of(known.node).kind != "map":
            raise self._wrong(_NAMELESS, mark)
        if known and isinstance(known.node, Branch | list):
            found = known.node if isinstance(known.node, list) else known.node.branches
            frame.branch.children += found
            self._count(frame, known.size, mark)
            self._comments.passed(event.end_mark.index, None)
            return
        term = self._term(event, max(frame.column, 0), known)
        if term is None:
            raise self._wrong("this item of a list is empty: write the term, or remove the line", mark)
        self._comments.begin(term, max(frame.column, 0))
        frame.branch.children.append(term)
        self._count(frame, 1, mark)
        if not known:
            self._runs.begin(mark.line, "term", frame)

    def _term(self, event: Any, column: int, known: Anchored | None) -> Term | None:
        """A term for a scalar that is not empty."""
        if known and known.node is None:
            return None
        written = self._written(event, column, known)
        term = Term(written.text, written=written)
        self._comments.passed(event.end_mark.index if known else self._end, term)
        if not written.text:
            self._remember(written.anchor, None, 0)
            return None
        if not known:
            self._remember(written.anchor, term, 1)
        return term

    def _value(self, frame: OpenCollection | None, event: Any, known: Anchored | None) -> None:
        """A scalar or alias as the value of a key, or as the whole document."""
        branch = frame.key if frame and frame.key else self._root
        layout = layout_of(branch)
        column, mark = layout.key.column if frame else -1, event.start_mark
        end, size = event.end_mark.index, 0
        owner: Branch | Term = branch
        raw = _ANCHOR.sub(r"\1", self._source[mark.index : end])
        if known and isinstance(known.node, Branch | list):
            self._refer(frame, branch, known)
            size = known.size
        elif (known and known.node is None) or (not known and _TAGS.sub("", raw) in NULLS):
            layout.raw = "" if known else raw
            self._remember(YamlAnchor(event.anchor) if event.anchor and not known else None, None, 0)
        else:
            term = self._term(event, column, known)
            if term is None:
                raise self._wrong("this term is empty: write it, or leave the value out", mark)
            layout.kind, size = "scalar", 1
            branch.children.append(term)
            self._comments.begin(term, column)
            end = end if known else self._end
            owner = branch if mark.line == self._key_line and not branch.comment else term
        self._comments.close(branch, column + 1)
        self._count(frame, size, mark)
        if raw:
            self._comments.passed(end, owner)

    def _refer(self, frame: OpenCollection | None, branch: Branch, known: Anchored) -> None:
        """Give a branch the children of the one that an alias stands for: one list, in two places."""
        layout = layout_of(branch)
        if isinstance(known.node, list):
            branch.children, layout.kind = list(known.node), "map"
        elif isinstance(known.node, Branch):
            target = layout_of(known.node)
            branch.children, layout.kind, layout.flow = known.node.children, target.kind, target.flow
            layout.alias_of = known.anchor
            if frame:
                self._aliases.append((frame.branch.children, len(frame.branch.children) - 1, known.node))

    def _unite(self) -> None:
        """Make one branch of those that share their children and have one name, and nothing else of their own."""
        for children, place, target in self._aliases:
            branch = children[place]
            assert isinstance(branch, Branch)
            if branch.name == target.name and not (branch.comment or branch.above or branch.below):
                children[place] = target

    def _remember(self, anchor: YamlAnchor | None, node: Term | Branch | list[Branch] | None, size: int) -> None:
        if anchor:
            self._anchors[anchor.name] = Anchored(anchor, node, size)

    def _count(self, frame: OpenCollection | None, nodes: int, mark: Any) -> None:
        if frame:
            frame.size += nodes
            if frame.size > MOST_NODES:
                what = f"with its aliases this has more than {MOST_NODES:,} terms and branches: write fewer aliases"
                raise self._wrong(what, mark)

    def _start(self, event: Any, kind: Literal["map", "list"]) -> None:
        self._reach(event)
        outer = self._frames[-1] if self._frames else None
        self._end_run(outer, "item", event.start_mark)
        mark, flow = event.start_mark, bool(event.flow_style)
        if outer and outer.kind == "list":
            if kind == "list":
                raise self._wrong(_NAMELESS, mark)
            if flow or event.anchor:
                self._indentation.item(outer, mark)
            frame = OpenCollection(outer.branch, "item", mark, flow)
        elif outer and outer.key is None:
            raise self._wrong("this key is no text: name the branch", mark)
        else:
            branch = outer.key if outer and outer.key else self._root
            frame = OpenCollection(branch, kind, mark, flow)
            layout = layout_of(branch)
            layout.kind = kind
            tag = _TAG.search(self._source[mark.index : event.end_mark.index]) if event.tag else None
            layout.tag = tag[1] if tag else ""
            if flow and not outer:
                self._comments.begin(branch, 0)  # what stands in brackets on one line has no line of its own
        if event.anchor:
            frame.anchor = YamlAnchor(event.anchor)
            self._anchors[event.anchor] = None
            if frame.kind != "item":
                layout_of(frame.branch).anchor = frame.anchor
        self._frames.append(frame)

    def _finish(self, event: Any) -> None:
        frame = self._frames.pop()
        outer = self._frames[-1] if self._frames else None
        members = list(frame.members.values())
        node: Branch | list[Branch] = members if frame.kind == "item" else frame.branch
        if frame.anchor and frame.kind == "item" and members:
            layout_of(members[0]).item = AnchoredItem(frame.anchor, members)
        self._remember(frame.anchor, node, frame.size)
        if frame.flow:
            self._comments.reach(event.start_mark.index)
            self._comments.passed(
                event.end_mark.index, members[0] if frame.kind == "item" and members else frame.branch
            )
            one_line = frame.start.line == event.end_mark.line
            if frame.kind != "item":
                layout_of(frame.branch).flow = one_line
            elif members:
                layout_of(members[0]).braced = one_line
        if frame.kind != "item":
            layout = layout_of(frame.branch)
            column = frame.column if frame.column >= 0 else layout.key.column + 1
            self._comments.close(frame.branch, column)
        self._count(outer, frame.size, event.end_mark)
        if outer and outer.kind != "list":
            outer.key = None
