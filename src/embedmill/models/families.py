"""Prompts that families of models were trained with, for repositories whose own files do not have them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Prompts(NamedTuple):
    """What is put before a document, and before a query; "" for nothing."""

    document: str
    query: str


_RETRIEVAL: Final = "Represent this sentence for searching relevant passages: "

# From the models' own pages, by the last part of their name. The first that matches counts.
_FAMILIES: Final = (
    (re.compile(r"e5-(small|base|large)(?!.*instruct)"), Prompts("passage: ", "query: ")),
    (re.compile(r"bge-(small|base|large)-en"), Prompts("", _RETRIEVAL)),
    (re.compile(r"bge-(small|base|large)-zh"), Prompts("", "为这个句子生成表示以用于检索相关文章：")),
    (re.compile(r"nomic-embed-text|modernbert-embed"), Prompts("search_document: ", "search_query: ")),
    (re.compile(r"arctic-embed-.*v2"), Prompts("", "query: ")),
    (re.compile(r"mxbai-embed-large|arctic-embed|uae-large"), Prompts("", _RETRIEVAL)),
)


def known_prompts(name: str) -> Prompts | None:
    """The prompts of the family that a model's name, or its folder's, is of; None where none is known."""
    last = name.rstrip("/").rpartition("/")[2].casefold()
    return next((prompts for pattern, prompts in _FAMILIES if pattern.search(last)), None)
