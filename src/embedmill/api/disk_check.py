"""What is on disk against what a store has: documents that have changed, are gone, or were never stored."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from embedmill.api.index import files
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import StoreOptions, known_settings
from embedmill.api.text_check import TextCheck
from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import DocumentState, Entry, GivenPath
from embedmill.core.errors import SourceError
from embedmill.core.interfaces.store import Store
from embedmill.runtime.paths import as_folder, file_path
from embedmill.sources.files.safe_read import inode_of
from embedmill.sources.files.source import FileSource

_AT_ONCE: Final = 256  # entries whose ledger is read in one query

_READ_AT_ONCE: Final = 64  # documents whose chunks are read in one query

_CHANGED: Final = "its file has changed since it was stored"
_GONE: Final = "its file is gone, and the store still has it"
_MISSING: Final = "it is on disk, and the store has neither it nor a failure"
_STRAY: Final = "it has a failure on record, and its file is gone"


def compare_with_disk(
    store: Store, given: Mapping[str, Any], *, read_data: bool = False, told: Collection[str] = ()
) -> Iterator[Finding]:
    """What is not in step, of the folders and files that are here; what lies in others cannot be known.

    A file counts as unchanged where size, times and inode are those that were stored, else by its hash; with
    `read_data` always by that, and its text is compared with the chunks, which is else done for those documents alone
    that should have chunks, and have none. Of those whose chunks are `told` to be damaged nothing is read. Files are
    selected as the runs that took them selected them; `given` are the options of this command, which say where the
    store is. While another run writes to the store nothing is told: what that run is about to store is not missing.
    """
    if store.written_by_others():
        return
    here = [root.path for root in store.root_list() if root.state == "here"]
    failed = set(store.failed_documents())
    folders = _Folders(store, here, failed, given, None if read_data else set(store.not_cut()), told)
    found = [*_of_ledger(store, here, failed, read_data), *folders.compare()]
    # A run may have come and gone meanwhile: what is told has to hold still.
    left = iter(found)
    while some := list(islice(left, _AT_ONCE)):
        states = store.states([each.document for each in some])
        if store.written_by_others():
            return
        yield from (
            each for each in some if _holds(each, states.get(each.document), failed, folders.read.get(each.document))
        )


def _holds(found: Finding, state: DocumentState | None, failed: set[str], then: DocumentState | None) -> bool:
    """Whether it is still so; `then` is the ledger's entry by which the text was compared."""
    match found.kind:
        case DamageKind.CHUNK_PLACE | DamageKind.CHUNK_MISSING:
            return state == then
        case DamageKind.DOCUMENT_MISSING:
            return state is None
        case DamageKind.DOCUMENT_CHANGED:
            return state is not None and _differs(state, read_data=True) is DamageKind.DOCUMENT_CHANGED
        case DamageKind.DOCUMENT_GONE:
            return state is not None
        case _:
            return found.document in failed


def _of_ledger(store: Store, here: Sequence[str], failed: set[str], read_data: bool) -> Iterator[Finding]:
    """Documents of the ledger, and failures, whose file is another now, or gone."""
    for state in store.ledger():
        if _inside(state.id, here) and state.id not in failed:
            kind = _differs(state, read_data)
            if kind is not None:
                yield Finding(kind, _GONE if kind is DamageKind.DOCUMENT_GONE else _CHANGED, state.id)
    for document in sorted(failed):
        if _inside(document, here) and not os.path.lexists(file_path(document)):
            yield Finding(DamageKind.FAILURE_STRAY, _STRAY, document)


def _differs(state: DocumentState, read_data: bool) -> DamageKind | None:
    path = file_path(state.id)
    try:
        found = os.lstat(path)
        times = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, inode_of(found))
        if not read_data and times == (state.size, state.mtime_ns, state.ctime_ns, state.inode):
            return None
        with open(path, "rb") as file:  # noqa: PTH123 - paths that are no text too
            same = hashlib.file_digest(file, "sha256").digest() == state.content_hash
    except (FileNotFoundError, NotADirectoryError):
        return DamageKind.DOCUMENT_GONE
    except (OSError, ValueError):  # it cannot be read just now: what is stored of it stays
        return None
    return None if same else DamageKind.DOCUMENT_CHANGED


def _inside(document: str, here: Sequence[str]) -> bool:
    """Whether a document lies in one of these files and folders."""
    return any(document == root or document.startswith(as_folder(root)) for root in here)


class _Folders:
    """What the folders and files that are here have, against the store."""

    def __init__(
        self,
        store: Store,
        here: Sequence[str],
        failed: set[str],
        given: Mapping[str, Any],
        not_cut: set[str] | None,
        told: Collection[str],
    ) -> None:
        """`not_cut`: the documents whose text is compared; None for all, but for those `told`."""
        self._store, self._here, self._failed, self._given = store, here, failed, given
        self._not_cut, self._told = not_cut, told
        self._texts = TextCheck(store) if not_cut is None or not_cut else None
        self.read: dict[str, DocumentState] = {}  # the ledger's entries of those whose text differs

    def compare(self) -> Iterator[Finding]:
        """Files that a run would take, and that the store does not know; and chunks that are not those of the text."""
        for taken in self._store.given_paths():
            if not _inside(taken.path.rstrip("/"), self._here):
                continue
            try:
                source = _source(taken, self._given)
                entries = source.entries()
                while some := list(islice(entries, _AT_ONCE)):
                    yield from self._of_entries(taken, source, some)
            except SourceError:  # the folder cannot be listed: a run says so
                continue

    def _of_entries(self, taken: GivenPath, source: FileSource, entries: Sequence[Entry]) -> Iterator[Finding]:
        store, failed = self._store, self._failed
        states = store.states([entry.id for entry in entries])
        for entry in entries:
            unknown = entry.id not in states and entry.id not in failed
            if unknown and store.given_as(entry.id) == taken and _is_document(source, entry):
                yield Finding(DamageKind.DOCUMENT_MISSING, _MISSING, entry.id)
        if self._texts is None:
            return
        compared = [each for each in entries if each.id in states and self._is_compared(each.id)]
        compared = [each for each in compared if store.given_as(each.id) == taken]
        for first in range(0, len(compared), _READ_AT_ONCE):
            for found in self._texts.compare(source, compared[first : first + _READ_AT_ONCE], states):
                self.read[found.document] = states[found.document]
                yield found

    def _is_compared(self, document: str) -> bool:
        return document not in self._told and (self._not_cut is None or document in self._not_cut)


def _source(taken: GivenPath, given: Mapping[str, Any]) -> FileSource:
    chosen = read_settings(known_settings(taken.options) | dict(given), StoreOptions)
    return files([file_path(taken.path)], chosen, current=taken.options.get("current"))


def _is_document(source: FileSource, entry: Entry) -> bool:
    """Whether a run would store it: what it is shows when it is read."""
    try:
        return source.read(entry) is not None
    except SourceError:
        return True  # it would be a failure
