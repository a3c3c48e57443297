"""What decides a vector, as a value that can be compared and stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

OF_QUERIES = ("query_prompt", "similarity")
"""Fields of a space that say how a search goes, and nothing of the vectors that are stored."""


_OF_FILES = ("weights", "tokenizer")


@dataclass(frozen=True, slots=True)
class Space:
    """All that decides whether two vectors may be compared. The model's *name* is not part of it."""

    weights: str  # SHA-256 of the weights, hex
    tokenizer: str  # SHA-256 of the tokenizer's definition, hex
    pooling: str  # "mean", "cls", "max" or "last"; joined by "+" where several are concatenated
    normalize: bool
    prompt: str  # put before every document; "" for none
    max_tokens: int  # a text's tokens beyond this do not count, special tokens included
    dimension: int
    query_prompt: str = ""  # put before every query; "" for none
    similarity: str = "cosine"  # by what vectors are compared: "cosine", "dot" or "euclidean"

    @property
    def id(self) -> str:
        """16 hex digits of the SHA-256 over all fields that decide a document's vector.

        The query's prompt is not among them, nor is the similarity: vectors that are stored stay as they are, whatever
        is put before queries, and however the two are compared.
        """
        return _id(self)


@lru_cache(maxsize=64)  # every look into a cache asks for it
def _id(space: Space) -> str:
    fields = asdict(space)
    for name in OF_QUERIES:
        del fields[name]
    canonical = json.dumps(fields, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A space and the precision it was computed in: equal fingerprints and texts give equal vectors."""

    space: Space
    precision: str  # "f32" or "bf16"

    @property
    def key(self) -> str:
        """The fingerprint as a short string, for keys and columns."""
        return f"{self.space.id}-{self.precision}"

    def of_queries(self) -> Fingerprint:
        """What the vectors of queries are known by: they are those of documents with the query's prompt before them."""
        return replace(self, space=replace(self.space, prompt=self.space.query_prompt))


def differ_in_files_alone(held: Mapping[str, Any], space: Space) -> bool:
    """Whether a space of these fields is this one but for the digests of the model's files."""
    return all(held.get(name) == value for name, value in asdict(space).items() if name not in _OF_FILES + OF_QUERIES)


def other_prompt(held: str | None, held_space: str | None, space: Space) -> str:
    """For messages: that a place holds vectors of the same model with another prompt, `held`; "" where it does not."""
    if held is None or held == space.prompt or replace(space, prompt=held).id != held_space:
        return ""
    theirs = f"with {held!r} before each" if held else "without a prompt"
    ours = f"with {space.prompt!r} before each" if space.prompt else "without one"
    advice = "leave the prompt out (--document-prompt, EMBED_PREFIX ...) to go on as before"
    return f"vectors of texts {theirs}, not {ours}: {advice}"


def not_of(held: str | None, held_space: str | None, model: str, space: str, how: str = "") -> str:
    """For messages: whose vectors a place holds, and that these are another model's, or another state of its files."""
    if held == model:
        return (
            f"vectors of {held} (space {held_space}) as its files were then: now they give other vectors (space {space}"
            f"{how}), so the files have changed or are damaged"
        )
    return f"vectors of {held} (space {held_space}), not of {model} (space {space}{how})"
