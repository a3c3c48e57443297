"""The embedder that a process of many runs keeps, loaded, from one run to the next that needs the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from embedmill.embedders.local import LocalEmbedder

_kept: list[tuple[Hashable, LocalEmbedder]] = []  # one at most
_keeps = False


def keep_embedder() -> None:
    """From now on this process keeps the last embedder: for one that does one run after another."""
    global _keeps
    _keeps = True


def kept_or_made(key: Hashable, make: Callable[[], LocalEmbedder]) -> LocalEmbedder:
    """The embedder that is kept, where it was made by the same key; else a new one, in place of it."""
    if _kept and _kept[0][0] == key:
        return _kept[0][1]
    made = make()
    if _keeps:
        for _, other in _kept:
            other.close()
        _kept[:] = [(key, made)]
    return made


def let_go(embedder: LocalEmbedder) -> None:
    """Close an embedder at the end of its run, unless it is kept."""
    if not any(kept is embedder for _, kept in _kept):
        embedder.close()
