"""Searching a store."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Unpack

from embedmill.api.embedders import load_embedder
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import SearchOptions, check_options
from embedmill.api.stores import check_space, name_vanished, open_chosen_store, refuse_db_timeout
from embedmill.core.checks import switches, whole_number
from embedmill.core.errors import EmbedmillError, SpaceMismatch, StoreError, UsageError
from embedmill.core.vectors import Batch
from embedmill.engine.unread import warn_of_query
from embedmill.runtime.closing import Closing
from embedmill.sources.files.selection import Selection

if TYPE_CHECKING:
    from embedmill.core.documents import Hit
    from embedmill.core.interfaces.store import Store
    from embedmill.core.vectors import Vector
    from embedmill.embedders.local import LocalEmbedder

log = logging.getLogger(__name__)


class Searcher(Closing):
    """An open store and its model, for many searches.

    The model is the one that the store was written with, unless `model` names where else it lies. Where another run
    embeds the store anew meanwhile, with another model, searches go on with that. `options` are those
    of `embedmill.api.settings.SearchOptions`. Raises `UsageError`, `StoreError` where there is no store and
    `SpaceMismatch` where the model is another than the store's.
    """

    def __init__(self, store: str | None = None, **options: Unpack[SearchOptions]) -> None:
        check_options(Searcher, options, SearchOptions)
        self._model, self._precision = options.get("model"), options.get("precision") or "f32"
        names = ("store", "schema", "db_timeout", "query_prompt")
        place = {"store": store} | {name: options.get(name) for name in names[1:]}
        self._chosen = chosen = read_settings(place, names)
        refuse_db_timeout(options, chosen)
        self._process = os.getpid()
        self._opening = threading.Lock()
        self._open()
        with ExitStack() as stack:
            stack.callback(self.close)
            name_vanished(self._using[0].vanished(), place)
            stack.pop_all()

    def _open(self) -> None:
        """Open the store, and the model that it is filled with now."""
        try:
            self._open_once()
        except SpaceMismatch:
            if self._model is not None:
                raise
            self._open_once()  # it was embedded with another model between two looks at it

    def _open_once(self) -> None:
        with ExitStack() as stack:
            store = stack.enter_context(closing(open_chosen_store(self._chosen, write=False)))
            status = store.status()
            if status.model is None:
                raise StoreError(f"store {store.url} is empty: run `embedmill index` first")
            embedder = load_embedder(
                self._model or status.model,
                precision=self._precision,
                streams=1,
                document_prompt=status.document_prompt or None,
                query_prompt=self._chosen.query_prompt or status.query_prompt or None,
            )
            stack.callback(embedder.close)
            check_space(store, embedder)
            self._using, self._closing = (store, embedder), stack.pop_all()
        # Beside the loading the query is tokenised and the store's matrix opened: a tenth of a cold search.
        threading.Thread(target=self._load, name="embedmill-load", daemon=True).start()

    def _load(self) -> None:
        with suppress(Exception):  # the search meets the same error, where it can be reported
            self._using[1].load()

    def search(
        self, query: str, *, k: int = 10, glob: str | Sequence[str] | None = None, exact: bool = False
    ) -> list[Hit]:
        """The `k` nearest chunks, best first; `glob` limits them to documents whose path it matches, or one of several.

        Patterns are as in git and ripgrep: ``*.{md,rst}``, ``src/**/*.py``, a folder's name for all in it, ``!drafts``
        for all else. One with a "/" matches from any folder on, unless it begins with "/" or "./".
        `exact` compares every chunk, also where the store has an index that is faster.
        """
        whole_number("k", k)
        switches(exact=exact)
        if not isinstance(query, str):
            raise UsageError(f"the query is a {type(query).__name__}: say what to look for, as text")
        if not query.strip():
            raise UsageError("the query is empty: say what to look for")
        try:
            query.encode()
        except UnicodeEncodeError:
            raise UsageError("the query is not valid Unicode: it has lone surrogates") from None
        selection = None if glob is None else Selection([glob] if isinstance(glob, str) else glob)
        self._follow_fork()
        fits = selection.takes if selection else None
        store, embedder = self._using
        try:
            hits = _hits(store, embedder, query, k, fits, exact=exact)
        except EmbedmillError as error:
            if not self._follow_swap(store, error):
                raise
            hits = _hits(*self._using, query, k, fits, exact=exact)
        for pattern in selection.unmatched() if selection else ():
            log.warning("--glob %r matches no document of the store: correct it, or leave it out", pattern)
        return hits

    def _follow_swap(self, store: Store, error: EmbedmillError) -> bool:
        """Open the store anew where it has been embedded with another model; whether another is open now."""
        with self._opening:
            if self._using[0] is store:
                if not isinstance(error, SpaceMismatch):
                    return False
                before, left = self._using[1].name, self._closing
                self._open()
                left.close()  # a search that goes on there meets an error, and gets here too
                log.warning("store %s is searched with %s now, not %s", store.url, self._using[1].name, before)
            return True

    def _follow_fork(self) -> None:
        """Open the store anew in a process that was forked: the connection is the other one's."""
        with self._opening:
            if os.getpid() != self._process:
                _LEFT.append((self._using, self._closing))
                with ExitStack() as stack:
                    embedder = self._using[1]
                    stack.callback(embedder.close)
                    store = stack.enter_context(closing(open_chosen_store(self._chosen, write=False)))
                    self._using, self._closing = (store, embedder), stack.pop_all()
                self._process = os.getpid()

    def close_store(self) -> None:
        """Release the store alone, where the process ends now: to free the model would take longer than that."""
        if os.getpid() == self._process:
            self._using[0].close()

    def close(self) -> None:
        """Release store and model; may be called twice."""
        if os.getpid() == self._process:
            self._closing.close()


def _hits(
    store: Store, embedder: LocalEmbedder, query: str, k: int, fits: Callable[[str], bool] | None, *, exact: bool
) -> list[Hit]:
    store.prepare_search()
    return store.search(_vector(embedder, query), k, fits, exact=exact)


def _vector(embedder: LocalEmbedder, query: str) -> Vector:
    (ids,) = embedder.encode([query], task="query", truncate=False)
    limit = embedder.max_tokens
    if len(ids) > limit:
        log.warning("the query has %s tokens: the model reads the first %s", f"{len(ids):,}", limit)
        (ids,) = embedder.encode([query], task="query")
    warn_of_query(embedder, query, ids)
    vector: Vector = embedder.infer(Batch((query,), (ids,)))[0]
    return vector


_LEFT: list[object] = []
"""What the process that this one was forked from has opened and uses: not to be closed here."""


def search(
    query: str,
    *,
    store: str | None = None,
    k: int = 10,
    glob: str | Sequence[str] | None = None,
    exact: bool = False,
    **options: Unpack[SearchOptions],
) -> list[Hit]:
    """The `k` chunks nearest to a query, best first: the command ``embedmill search``.

    Opens the store and loads the model each time; for many queries keep a `Searcher`, whose options and errors these
    are.
    """
    check_options(search, options, SearchOptions)
    with Searcher(store, **options) as searcher:
        return searcher.search(query, k=k, glob=glob, exact=exact)
