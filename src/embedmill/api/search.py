"""Searching a store."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Unpack

from embedmill.api.embedders import load_embedder
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import SearchOptions, check_options
from embedmill.api.stores import check_space, name_vanished, open_chosen_store, refuse_db_timeout
from embedmill.core.checks import switches, whole_number
from embedmill.core.errors import StoreError, UsageError
from embedmill.core.vectors import Batch
from embedmill.engine.unread import warn_of_query
from embedmill.runtime.closing import Closing
from embedmill.sources.files.selection import Selection

if TYPE_CHECKING:
    from embedmill.core.documents import Hit
    from embedmill.core.vectors import Vector

log = logging.getLogger(__name__)


class Searcher(Closing):
    """An open store and its model, for many searches.

    The model is the one that the store was written with, unless `model` names where else it lies. `options` are those
    of `embedmill.api.settings.SearchOptions`. Raises `UsageError`, `StoreError` where there is no store and
    `SpaceMismatch` where the model is another than the store's.
    """

    def __init__(self, store: str | None = None, **options: Unpack[SearchOptions]) -> None:
        check_options(Searcher, options, SearchOptions)
        model, precision = options.get("model"), options.get("precision") or "f32"
        names = ("store", "schema", "db_timeout", "query_prompt")
        place = {"store": store} | {name: options.get(name) for name in names[1:]}
        self._chosen = chosen = read_settings(place, names)
        refuse_db_timeout(options, chosen)
        self._process = os.getpid()
        self._opening = threading.Lock()
        with ExitStack() as stack:
            self._store = stack.enter_context(closing(open_chosen_store(self._chosen, write=False)))
            status = self._store.status()
            if status.model is None:
                raise StoreError(f"store {self._store.url} is empty: run `embedmill index` first")
            self._embedder = load_embedder(
                model or status.model,
                precision=precision,
                streams=1,
                document_prompt=status.document_prompt or None,
                query_prompt=chosen.query_prompt or status.query_prompt or None,
            )
            stack.callback(self._embedder.close)
            check_space(self._store, self._embedder)
            name_vanished(self._store.vanished(), place)
            self._closing = stack.pop_all()
        # Beside the loading the query is tokenised and the store's matrix opened: a tenth of a cold search.
        threading.Thread(target=self._load, name="embedmill-load", daemon=True).start()

    def _load(self) -> None:
        with suppress(Exception):  # the search meets the same error, where it can be reported
            self._embedder.load()

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
        if not isinstance(query, str) or not query.strip():
            raise UsageError("the query is empty: say what to look for")
        try:
            query.encode()
        except UnicodeEncodeError:
            raise UsageError("the query is not valid Unicode: it has lone surrogates") from None
        selection = None if glob is None else Selection([glob] if isinstance(glob, str) else glob)
        self._follow_fork()
        self._store.prepare_search()
        hits = self._store.search(self._vector(query), k, selection.takes if selection else None, exact=exact)
        for pattern in selection.unmatched() if selection else ():
            log.warning("--glob %r matches no document of the store: correct it, or leave it out", pattern)
        return hits

    def _vector(self, query: str) -> Vector:
        (ids,) = self._embedder.encode([query], task="query", truncate=False)
        limit = self._embedder.max_tokens
        if len(ids) > limit:
            log.warning("the query has %s tokens: the model reads the first %s", f"{len(ids):,}", limit)
            (ids,) = self._embedder.encode([query], task="query")
        warn_of_query(self._embedder, query, ids)
        vector: Vector = self._embedder.infer(Batch((query,), (ids,)))[0]
        return vector

    def _follow_fork(self) -> None:
        """Open the store anew in a process that was forked: the connection is the other one's."""
        with self._opening:
            if os.getpid() != self._process:
                _LEFT.append((self._store, self._closing))
                with ExitStack() as stack:
                    stack.callback(self._embedder.close)
                    self._store = stack.enter_context(closing(open_chosen_store(self._chosen, write=False)))
                    self._closing = stack.pop_all()
                self._process = os.getpid()

    def close_store(self) -> None:
        """Release the store alone, where the process ends now: to free the model would take longer than that."""
        if os.getpid() == self._process:
            self._store.close()

    def close(self) -> None:
        """Release store and model; may be called twice."""
        if os.getpid() == self._process:
            self._closing.close()


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
