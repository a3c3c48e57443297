"""Taking files and folders out of a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import Unpack

from embedmill.api.assemble import as_list
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import StoreOptions, check_options
from embedmill.api.stores import open_chosen_store, refuse_db_timeout, status_of_second
from embedmill.core.errors import StoreError, UsageError
from embedmill.core.interfaces.reembedding import ReembeddableStore
from embedmill.core.interfaces.store import Store
from embedmill.runtime.paths import FilePath, both, file_id, quote_path


def forget(paths: FilePath | Sequence[FilePath], **options: Unpack[StoreOptions]) -> int:
    """Take files and folders out of a store, whether they are there or gone: the command ``embedmill forget``.

    A path of another machine is given as `status --roots` shows it, HOST:PATH. Returns how many documents that were.
    Raises `UsageError`, and `StoreError` where there is no store, or nothing of a path in it.
    """
    check_options(forget, options, StoreOptions)
    chosen = read_settings(options, StoreOptions)
    refuse_db_timeout(options, chosen)
    given = [os.fspath(path) for path in as_list(paths)]
    if not given or "" in given:
        raise UsageError("a path is empty: give a file or folder, as `embedmill status --roots` lists them")
    with closing(open_chosen_store(chosen, write=True, create=False)) as store:
        scopes = {path: scopes_in(store, path) for path in given}
        for path, found in scopes.items():
            if not store.holds(found):
                raise StoreError(
                    f"store {store.url} has nothing of {quote_path(path)}: `embedmill status --roots` lists what it has"
                )
        return store.forget([scope for found in scopes.values() for scope in found])


def forget_second(**options: Unpack[StoreOptions]) -> int:
    """Give up a second space that `index` with ``re_embed`` has begun: ``embedmill forget --re-embed``.

    Returns how many documents it held. Raises `StoreError` where there is no store, or no second space.
    """
    check_options(forget_second, options, StoreOptions)
    chosen = read_settings(options, StoreOptions)
    refuse_db_timeout(options, chosen)
    with closing(open_chosen_store(chosen, write=True, create=False)) as store:
        held = status_of_second(store)
        if held is None or not isinstance(store, ReembeddableStore):
            raise StoreError(f"store {store.url} is not being embedded anew: there is nothing to give up")
        store.drop_second()
        return held.documents


def scopes_in(store: Store, path: str) -> list[str]:
    """What a store may have of a path, as scopes: that of a file, and of a folder."""
    return list(both(_as_stored(path, store)))


def _as_stored(path: str, store: Store) -> list[str]:
    """The ids that a path may stand for: that of the path itself, and that of what a link leads to."""
    if any(not root.path.startswith("/") and (path + "/").startswith(root.path + "/") for root in store.root_list()):
        return [path]
    absolute = os.path.abspath(path)  # noqa: PTH100
    above = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))  # noqa: PTH118, PTH119, PTH120
    return list(dict.fromkeys(file_id(each) for each in (os.path.realpath(path), above, absolute)))
