"""Texts that a model cannot read, since its vocabulary has none of their characters."""

from __future__ import annotations

import logging
from typing import Final

from embedmill.core.interfaces.embedder import Embedder, KnowsTokens, Task
from embedmill.core.vectors import TokenIds

log = logging.getLogger(__name__)

_MULTILINGUAL: Final = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"

_SHOWN: Final = 20  # characters


def is_unread(embedder: Embedder, ids: TokenIds, task: Task = "document") -> bool:
    """Whether a text is nothing but tokens that the model does not know, as far as the embedder can tell.

    Its vector is that of any other such text.
    """
    if not isinstance(embedder, KnowsTokens):
        return False
    unknown, tokens = embedder.unknown_tokens(ids, task=task)
    return unknown >= tokens


def warn_of_query(embedder: Embedder, query: str, ids: TokenIds) -> None:
    """Say so where the model does not know more than half of a query's tokens: what it finds then means little."""
    if not isinstance(embedder, KnowsTokens):
        return
    unknown, tokens = embedder.unknown_tokens(ids, task="query")
    if unknown >= tokens:
        log.warning(
            "%s knows nothing of the query %s: what it finds is no answer; %s",
            embedder.name,
            _clipped(query),
            _remedy(query),
        )
    elif 2 * unknown > tokens:
        log.warning(
            "%s does not know %d of the query's %d tokens: what it finds may be no answer; %s",
            embedder.name,
            unknown,
            tokens,
            _remedy(query),
        )


def warn_of_documents(name: str, number: int, what: str, example: str = "") -> None:
    """Say how many chunks, rows or texts the model cannot read."""
    if number:
        such = f", as {_clipped(example)}" if example else ""
        log.warning(
            "%s knows nothing of %s%s: their vectors are kept, but say nothing, and no search tells them apart; %s",
            name,
            f"{number:,} {what if number > 1 else what.removesuffix('s')}",
            such,
            "leave such data out" if example and example.isascii() else _remedy(example or "a"),
        )


def _remedy(text: str) -> str:
    """What reads such a text."""
    if any(character.isalpha() for character in text):
        return f"a model of many languages reads them, as {_MULTILINGUAL} (--model)"
    return f"ask in words, or take a model that knows more signs, as {_MULTILINGUAL} (--model)"


def _clipped(text: str) -> str:
    joined = " ".join(text.split())
    return repr(joined if len(joined) <= _SHOWN else joined[:_SHOWN] + "...")
