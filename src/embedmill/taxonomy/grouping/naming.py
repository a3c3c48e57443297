"""What a group is called: its medoid, and the words that set it apart from its siblings."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

Source = Literal["word", "medoid", "medoid and words", "medoids", "number"]
"""Where a name comes from."""

_WORD: Final = re.compile(r"[^\W\d_][\w'-]*")
_SHORTEST: Final = 3  # letters of a word that says something
_COMMON: Final = 0.5  # of a group's terms that have a word by which all of it can be called
_SHARED: Final = 0.2  # of a group's terms that have a word which is worth adding to a medoid
_ADDED: Final = 2  # words


@dataclass(frozen=True, slots=True)
class GroupName:
    """A group's name."""

    text: str
    source: Source


def named(groups: Sequence[Sequence[str]], medoids: Sequence[Sequence[str]], taken: Iterable[str]) -> list[GroupName]:
    """A name for each group of terms, none of them `taken` (the parent's, the siblings') and no two the same.

    `medoids` are each group's terms, the nearest to its centre first. All words of a name are the group's own. Names
    that differ in case or plural alone are the same.
    """
    known = {plain(name) for name in taken}
    words = [_words(terms) for terms in groups]
    everywhere = Counter(word for found in words for word in found)
    names: list[GroupName] = []
    for terms, found, nearest in zip(groups, words, medoids, strict=True):
        name = next(
            each
            for each in _candidates(len(terms), found, everywhere, len(groups), nearest)
            if plain(each.text) not in known
        )
        known.add(plain(name.text))
        names.append(name)
    return names


def telling_word(terms: Sequence[str]) -> str:
    """The word that most of the terms have, of equals the first by the alphabet; empty where they have none."""
    words = _words(terms)
    return min(words, key=lambda word: (-words[word], word), default="")


def plain(name: str) -> str:
    """A name as it is compared: without case, plural and signs."""
    return " ".join(singular(word) for word in re.findall(r"\w+", name.casefold()))


def _candidates(
    size: int, words: Counter[str], everywhere: Counter[str], groups: int, nearest: Sequence[str]
) -> Iterable[GroupName]:
    telling = sorted(
        words,
        key=lambda word: (-words[word] / size * math.log(1 + groups / everywhere[word]), word),
    )
    for word in telling[:1]:
        if words[word] >= _COMMON * size:
            yield GroupName(word, "word")
    medoid = nearest[0]
    said = set(plain(medoid).split())
    added = [word for word in telling if words[word] >= max(2, _SHARED * size) and word not in said][:_ADDED]
    if added:
        yield GroupName(f"{medoid} ({', '.join(added)})", "medoid and words")
    yield GroupName(medoid, "medoid")
    for number in range(2, 1 + min(len(nearest), 5)):
        yield GroupName(", ".join(dict.fromkeys(nearest[:number])), "medoids")
    number = 2
    while True:
        yield GroupName(f"{medoid} {number}", "number")
        number += 1


def _words(terms: Sequence[str]) -> Counter[str]:
    """In how many terms each word stands, in the singular."""
    return Counter(
        word
        for term in terms
        for word in {singular(found.casefold()) for found in _WORD.findall(term)}
        if len(word) >= _SHORTEST
    )


@lru_cache(maxsize=8192)  # few words, in many terms, at each level of groups
def singular(word: str) -> str:
    """An English word without the plural's ending, as far as rules go."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
