"""From settings to stores and tables: here URLs become open databases; what is said of folders that are gone."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

from embedmill.api.settings import SearchOptions, Settings, StoreOptions
from embedmill.core.checks import text_or_none
from embedmill.core.errors import SpaceMismatch, StoreError, UsageError
from embedmill.core.interfaces.reembedding import ReembeddableStore
from embedmill.core.spaces import not_of, other_prompt
from embedmill.runtime.paths import quote_path
from embedmill.storage.registry import is_server, open_store, open_table, redact_url

if TYPE_CHECKING:
    from embedmill.core.documents import StoreStatus
    from embedmill.core.interfaces.embedder import Embedder
    from embedmill.core.interfaces.store import Store
    from embedmill.core.interfaces.table import Table

_log = logging.getLogger("embedmill")

_NAMED: Final = 5  # folders that are gone, one by one


def refuse_db_timeout(options: StoreOptions | SearchOptions, chosen: Settings) -> None:
    """Raise `UsageError` where it is given and the store has no use for it."""
    if options.get("db_timeout") is not None and not is_server(chosen.store):
        raise UsageError("--db-timeout is for PostgreSQL: nothing in an SQLite store is waited for; leave it out")


def open_chosen_store(chosen: Settings, *, write: bool, create: bool = True) -> Store:
    """The store of these settings, to be closed. Raises what `open_store` raises."""
    return open_store(chosen.store, write=write, create=create, schema=chosen.schema, db_timeout=chosen.db_timeout)


def check_space(store: Store, embedder: Embedder) -> None:
    """Raise `SpaceMismatch` where a store that is only read holds vectors of another model."""
    status, space = store.status(), embedder.fingerprint.space
    if status.chunks and status.space != space.id:
        if told := other_prompt(status.document_prompt, status.space, space):
            raise SpaceMismatch(f"store {store.url} holds {told}, or give another --store")
        whose = not_of(status.model, status.space, embedder.name, space.id)
        raise SpaceMismatch(f"store {store.url} holds {whose}: give the store's own --model, or another --store")


def status_of_second(store: Store) -> StoreStatus | None:
    """What the second space holds; None where there is none."""
    try:
        return _status_of_second(store)
    except StoreError:  # it has just been put in the store's place, or given up
        return _status_of_second(store)


def _status_of_second(store: Store) -> StoreStatus | None:
    second = store.second() if isinstance(store, ReembeddableStore) else None
    if second is None:
        return None
    with closing(second):
        return second.status()


def tell_of_second(store: Store) -> None:
    """Say that a second space is half filled, how to go on, and how to give it up."""
    held = status_of_second(store)
    if held is not None:
        _log.warning(
            "store %s is half embedded anew%s (%s documents so far): `embedmill index PATH... --re-embed%s` goes on "
            "with that, `embedmill forget --re-embed` gives it up",
            store.url,
            f" with {held.model}" if held.model else "",
            f"{held.documents:,}",
            f" --model {shlex.quote(held.model)}" if held.model else "",
        )


@contextmanager
def open_chosen_table(table: str, chosen: Settings, **options: Any) -> Iterator[Table]:
    """A table of the chosen database; `options` are those of `embedmill.storage.registry.open_table`."""
    if not isinstance(table, str) or not table.strip():
        raise UsageError(f"table is {table!r}: give its name, as text")
    text_or_none(text=options.get("text"), vector=options.get("vector"))
    keys = options.get("id", ())
    options |= {"id": [keys] if isinstance(keys, str) else list(keys)} if keys else {}
    text_or_none(**{f"id {number}": name for number, name in enumerate(options.get("id", ()))})
    with closing(
        open_table(chosen.store, table, schema=chosen.schema, db_timeout=chosen.db_timeout, **options)
    ) as opened:
        yield opened


def name_vanished(vanished: Mapping[str, int], given: Mapping[str, Any]) -> None:
    """Say what is gone and still in the store, with commands that can be pasted.

    Of the options `given` just now they repeat which store is meant; what the environment or the file says holds for
    the next command too.
    """
    where = _store_options(given) if vanished else ""
    for path, number in list(vanished.items())[:_NAMED]:
        documents = "1 document" if number == 1 else f"{number:,} documents"
        hint = f"embedmill forget {shlex.quote(path)}{where}"
        _log.warning("%s is gone, and the store has %s of it: `%s` takes them out", quote_path(path), documents, hint)
    if len(vanished) > _NAMED:
        number = len(vanished) - _NAMED
        _log.warning("%s more that are gone are listed by `embedmill status --roots%s`", f"{number:,}", where)


def _store_options(given: Mapping[str, Any]) -> str:
    words = {name: given[name] for name in ("store", "schema") if given.get(name)}
    if "store" in words:
        words["store"] = redact_url(words["store"])
    return "".join(f" --{name} {shlex.quote(str(value))}" for name, value in words.items())
