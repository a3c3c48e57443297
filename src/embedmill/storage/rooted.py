"""A store whose documents are found again after they, or the store, have moved.

Whoever uses a store speaks of documents by their ids: absolute paths. A backend keeps them by names, which have the
number of their root in the place of its path (see `embedmill.storage.roots`). Here one becomes the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from embedmill.core.damage import Finding
from embedmill.core.documents import (
    Chunk,
    DocumentState,
    Failure,
    GivenPath,
    Hit,
    Record,
    Replacement,
    RootStatus,
    StoredChunk,
    source_file_of,
)
from embedmill.core.errors import StoreError
from embedmill.core.interfaces.store import StoredDocuments
from embedmill.core.interfaces.verification import CheckedDocuments
from embedmill.core.vectors import Vector
from embedmill.runtime.paths import as_folder, within
from embedmill.storage.roots import (
    Anchor,
    FolderState,
    Machine,
    Placed,
    Places,
    Root,
    UnknownRoot,
    has_size,
    loose,
    lost,
    name_in,
    place,
    share_there,
    this_machine,
)
from embedmill.storage.written import read_options

T = TypeVar("T")

_SAMPLE = 32
"""Documents looked at to tell whether a folder is a root that has moved."""


@dataclass(slots=True)
class Rearrangement:
    """Changes of roots and names that belong together."""

    renamed: list[tuple[str, str]] = field(default_factory=list)  # names, or scopes that end in "/": old and new
    updated: list[Root] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)  # scope -> options
    ungiven: list[str] = field(default_factory=list)  # scopes; goes before `given`
    has_roots: bool = False  # from now on, where an older version wrote before

    def __bool__(self) -> bool:
        return any((self.renamed, self.updated, self.dropped, self.given, self.ungiven, self.has_roots))


class RootRows(Protocol):
    """What a backend keeps of roots, and what of its documents is asked for by names."""

    def all(self) -> list[Root]:
        """The roots, by number."""

    def given(self) -> dict[str, str]:
        """How what was given was taken: scope -> options."""

    def add(self, root: Root) -> int:
        """Keep a new root; its number is given out here, and never twice."""

    def rearrange(self, changes: Rearrangement) -> None:
        """Make these changes, all of them or none. Of two documents with one name the one that has it stays."""

    def remove(self, scopes: Sequence[str]) -> int:
        """Remove all documents, failures and staged versions of these scopes; how many documents went."""

    def count(self, scope: str) -> int:
        """How many documents, or failures to read one, a scope has."""

    def sample(self, scope: str, limit: int) -> list[tuple[str, int]]:
        """Names and sizes of some documents of a scope, its first and its last."""

    def rootless(self) -> str | None:
        """The host that wrote the store with a version that knew no roots, "" for this one; None where none did."""

    def folders(self) -> set[str]:
        """The folders of all documents and failures that belong to no root."""


class Backend(StoredDocuments, CheckedDocuments, Protocol):
    """A store that knows documents by names alone."""

    @property
    def anchor(self) -> Anchor | None:
        """The folder that the store lies in."""

    @property
    def roots(self) -> RootRows:
        """The roots."""

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""

    def search(
        self, vector: Vector, k: int, fits: Callable[[str], bool] | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """As in `Store`, of the documents whose name fits."""

    def verify(self, look: Callable[[StoredChunk], None], shown: Callable[[str], str]) -> Iterator[Finding]:
        """As in `CheckedStore`; `shown` gives the id of a name. Findings and chunks have both."""


class RootedStore:
    """A `Store` over a backend."""

    def __init__(self, backend: Backend, here: Machine | None = None) -> None:
        """`here`: this machine, or one to take it for."""
        self._backend = backend
        self._rows = backend.roots
        self._here = this_machine() if here is None else here
        self.url = backend.url
        # What speaks of no document is the backend's own.
        self.bind, self.vectors, self.status = backend.bind, backend.vectors, backend.status
        self.prepare_search, self.has_index = backend.prepare_search, backend.has_index
        self.finish_within, self.forget_seen = backend.finish_within, backend.forget_seen
        self.close = backend.close
        self.read_chunks, self.rewrite = backend.read_chunks, backend.rewrite
        self.written_by_others = backend.written_by_others
        self._given: dict[str, str] | None = None  # as it was read
        self._load()
        if backend.writable and (host := self._rows.rootless()) is not None:
            self._find_roots(host)

    # Roots

    def register(self, given: Sequence[str], options: str = "{}") -> None:
        """Make known what a run takes: ids, those of folders ending in "/"; and, as JSON, how it takes them.

        What lies in a root that is here belongs to that; a new root takes in those that lie in it.
        """
        self._given = None
        scopes = [scope for scope in given if scope.startswith("/")]
        added = ""
        for scope in sorted(scopes):
            if self._living(scope) is None and not (added.endswith("/") and scope.startswith(added)):
                folder = scope.endswith("/")
                self._rows.add(self._described(0, scope if scope == "/" else scope.rstrip("/"), folder))
                added = scope if folder or not added.endswith("/") else added
        if added:
            self._load()
        changes = Rearrangement()
        taken = {root.root.number: root for root in map(self._living, scopes) if root is not None}
        for root in taken.values():
            changes.renamed.append((loose(root.prefix), name_in(root, root.prefix)))
            described = self._described(root.root.number, root.place, root.root.folder)
            if described != root.root:
                changes.updated.append(described)
        for each in self._places.all:
            outer = self._places.outermost(each) if each.state is FolderState.HERE else None
            if outer is not None:
                changes.renamed.append((name_in(each, each.prefix), name_in(outer, each.prefix)))
                changes.dropped.append(each.root.number)
        self._note(changes, scopes, options)
        changes.renamed = [pair for pair in changes.renamed if self._rows.count(pair[0])]
        if changes:
            self._rows.rearrange(changes)
            self._load()

    def _living(self, scope: str) -> Placed | None:
        root = self._places.root_of(scope)
        if root is None or root.state is FolderState.HERE:
            return root
        around = [each for each in self._places.all if each.state is FolderState.HERE and each.root.folder]
        return next((each for each in around if scope.startswith(each.prefix)), None)

    def _note(self, changes: Rearrangement, scopes: Sequence[str], options: str) -> None:
        """What was given now, in place of what was given before of it, or within it."""
        before = self._rows.given()
        moved = dict(changes.renamed)
        for scope in scopes:
            root = self._living(scope)
            assert root is not None
            outer = self._places.outermost(root) or root
            name = name_in(outer, scope)
            within = before if name.endswith("/") else ()
            inside = {each for each in within if self._given_id(each, moved).startswith(name)}
            changes.ungiven += sorted(inside - {name})
            if before.get(name) != options:
                changes.given[name] = options

    @staticmethod
    def _given_id(scope: str, moved: Mapping[str, str]) -> str:
        """The name of what was given before, after renaming."""
        root, slash, path = scope.partition("/")
        return moved.get(root + slash, root + slash) + path

    def _described(self, number: int, path: str, folder: bool) -> Root:
        relative = None if self._backend.anchor is None else self._backend.anchor.relative(path)
        return Root(number, path, folder, relative, self._here)

    def _load(self) -> None:
        anchor = self._backend.anchor
        placed = [place(root, anchor, self._here, self._share) for root in self._rows.all()]
        self._places = Places(sorted(placed, key=lambda each: (each.state is not FolderState.HERE, each.root.number)))

    def _share(self, root: Root, path: str) -> float:
        found = self._rows.sample(f"{root.number}/", _SAMPLE)
        if not root.folder:
            return max((float(has_size(path, size)) for _, size in found), default=1.0)
        documents = [(name.partition("/")[2], size) for name, size in found]
        if (anchor := self._backend.anchor) is not None and root.relative is not None:
            own = anchor.own(root.relative)
            documents = [each for each in documents if not each[0].startswith(own)] or documents
        return share_there(as_folder(path), documents)

    def _find_roots(self, host: str) -> None:
        """Name by its root what an older version has named by absolute paths, and what is gone or has moved since."""
        folders = self._rows.folders()
        changes = Rearrangement(has_roots=not folders)
        machine = self._here if host in ("", self._here.host) else Machine(f"unknown: {host}", host)
        known = {root.path: root.number for root in self._rows.all()}  # where this was begun before
        for was, now in lost(folders, self._backend.anchor, self._lies):
            root = replace(self._described(0, now, folder=True), machine=machine)
            number = known.get(now) or self._rows.add(root)
            changes.renamed.append((loose(as_folder(was)), f"{number}/"))
        if changes:
            self._rows.rearrange(changes)
            self._load()

    def _lies(self, path: str, other: str) -> float:
        before = as_folder(path)
        found = self._rows.sample(before, _SAMPLE)
        return share_there(as_folder(other), [(name[len(before) :], size) for name, size in found])

    def root_list(self) -> list[RootStatus]:
        """The roots: where they are, and how many documents they have."""
        found = [(each, self._rows.count(f"{each.root.number}/")) for each in self._places.all]
        return [RootStatus(each.place, each.state.value, number) for each, number in found]

    def vanished(self) -> dict[str, int]:
        """The roots that are gone from this machine, and how many documents the store still has of each."""
        gone = [each for each in self._places.all if each.state is FolderState.GONE]
        found = {each.place: self._rows.count(f"{each.root.number}/") for each in gone}
        return {path: number for path, number in found.items() if number}

    def given_as(self, document: str) -> GivenPath | None:
        """What a run was given that the document was taken by, and its options; None where that is not known.

        Options that cannot be read count as not known: `verify` tells of them.
        """
        name = self._places.name(document)
        if self._given is None:
            self._given = self._rows.given()
        nearest = name
        while nearest and nearest not in self._given:  # "1/a/b", "1/a/", "1/"
            nearest = nearest[: nearest.rstrip("/").rfind("/") + 1]
        options = read_options(self._given[nearest]) if nearest else None
        return None if options is None else GivenPath(self._id(nearest), options)

    def given_paths(self) -> list[GivenPath]:
        """All that runs were given, and by which options each was taken last, as far as these can be read."""
        read = ((scope, read_options(written)) for scope, written in self._rows.given().items())
        return [GivenPath(self._id(scope), options) for scope, options in read if options is not None]

    def holds(self, scopes: Sequence[str]) -> bool:
        """Whether there is any document, failure or root in these scopes, wherever it is."""
        names = [name for scope in scopes for name in self._places.names(scope, gone=True)]
        return any(self._rows.count(name) for name in names) or bool(self._roots_in(names))

    def _roots_in(self, names: Sequence[str]) -> list[int]:
        return [each.root.number for each in self._places.all if name_in(each, each.prefix) in names]

    def forget(self, scopes: Sequence[str]) -> int:
        """Remove what lies in these scopes, wherever it is: documents, failures, roots. Returns how many documents."""
        names = [name for scope in scopes for name in self._places.names(scope, gone=True)]
        removed = self._rows.remove(names)
        changes = Rearrangement(
            dropped=self._roots_in(names), ungiven=[scope for scope in self._rows.given() if within(scope, names)]
        )
        if changes:
            self._rows.rearrange(changes)
            self._load()
        return removed

    # Documents

    def states(self, ids: Sequence[str]) -> dict[str, DocumentState]:
        """See `Store`, as for what follows."""
        names = {self._places.name(document): document for document in ids}
        found = self._backend.states(list(names))
        return {names[name]: replace(state, id=names[name]) for name, state in found.items()}

    def stage(self, document: str, records: Sequence[Record], precision: str) -> None:
        self._backend.stage(self._places.name(document), records, precision)

    def replace(self, replacements: Sequence[Replacement]) -> None:
        self._backend.replace([replace(each, state=self._named(each.state)) for each in replacements])

    def fail(self, document: str, failures: Sequence[Failure]) -> None:
        self._backend.fail(self._places.name(document), failures)

    def update_stats(self, states: Sequence[DocumentState]) -> None:
        self._backend.update_stats([self._named(state) for state in states])

    def mark_seen(self, ids: Sequence[str]) -> None:
        self._backend.mark_seen([self._places.name(document) for document in ids])

    def remove_unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> int:
        return self._backend.remove_unseen(self._names(scopes), self._names(keep))

    def unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Sequence[str]]:
        for page in self._backend.unseen(self._names(scopes), self._names(keep)):
            yield [self._id(name) for name in page]

    def failures(self) -> Iterator[Failure]:
        for failure in self._backend.failures():
            document = self._id(failure.document)
            cause = replace(failure.cause, message=_of_now(failure.cause.message, failure.document, document))
            yield replace(failure, document=document, cause=cause)

    def failed_documents(self) -> list[str]:
        return [self._id(name) for name in self._backend.failed_documents()]

    def search(
        self, vector: Vector, k: int, fits: Callable[[str], bool] | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """See `Store`. What lies in a root that is gone is left out, unless all are."""
        self._load()  # a run may have moved something since
        return self._retried(lambda: self._search(vector, k, fits, exact))

    def _search(self, vector: Vector, k: int, fits: Callable[[str], bool] | None, exact: bool) -> list[Hit]:
        hits = self._backend.search(vector, k, self._named_so(fits), exact=exact)
        return [replace(hit, document=source_file_of(self._places.id(hit.document))) for hit in hits]

    def _named_so(self, fits: Callable[[str], bool] | None) -> Callable[[str], bool] | None:
        """What says of a name whether it is searched."""
        states = {each.state for each in self._places.all}
        without_gone = FolderState.GONE in states and len(states) > 1
        if fits is None and not without_gone:
            return None

        def searched(name: str) -> bool:
            if without_gone and self._places.state(name) is FolderState.GONE:
                return False
            return fits is None or fits(source_file_of(self._places.id(name)))

        return searched

    def chunks(self) -> Iterator[StoredChunk]:
        return (replace(chunk, document=self._shown(chunk.document)) for chunk in self._backend.chunks())

    def read(self, documents: Sequence[str] | None = None) -> Iterator[Chunk]:
        names = None if documents is None else [self._places.name(document) for document in documents]
        return (replace(chunk, source_file=self._id(chunk.source_file)) for chunk in self._backend.read(names))

    def verify(self, look: Callable[[StoredChunk], None] = lambda _: None) -> Iterator[Finding]:
        return self._backend.verify(look, self._shown)

    def discard(self, found: Sequence[Finding]) -> None:
        self._backend.discard(found)
        self._given = None

    def not_cut(self) -> list[str]:
        return [self._id(name) for name in self._backend.not_cut()]

    def ledger(self) -> Iterator[DocumentState]:
        for state in self._backend.ledger():
            yield replace(state, id=self._id(state.id))

    def _named(self, state: DocumentState) -> DocumentState:
        return replace(state, id=self._places.name(state.id))

    def _names(self, scopes: Sequence[str]) -> list[str]:
        return [name for scope in scopes for name in self._places.names(scope)]

    def _shown(self, name: str) -> str:
        return source_file_of(self._id(name))

    def _id(self, name: str) -> str:
        try:
            return self._retried(lambda: self._places.id(name))
        except StoreError:
            return name  # damaged: it is told as it is

    def _retried(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except UnknownRoot:  # a run has made it since the roots were read
            self._load()
        try:
            return work()
        except UnknownRoot as error:
            raise StoreError(
                f"store {self.url} is damaged (documents of a root that it does not know: {error}): put back a backup, "
                "or index into a new --store"
            ) from error


def _of_now(message: str, name: str, document: str) -> str:
    """A message that begins with the path that a document had then, with the one that it has now."""
    path = f"/{name.partition('/')[2]}: "
    before, found, reason = message.partition(path)
    return f"{document}: {reason}" if found and name != document and before.startswith("/") else message
