"""Documents by folder: as few folders as people can take in, as deep as that allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MOST: Final = 12
"""Folders that are told apart."""


@dataclass(slots=True)
class Folder:
    """A folder with all below it that no other one counts."""

    path: str  # as documents have it, ending in "/"; "" for documents whose ids are no paths
    documents: int = 0
    chunks: int = 0
    members: list[str] = field(default_factory=list)  # the documents


def by_folder(chunks: Mapping[str, int], most: int = MOST) -> list[Folder]:
    """The documents, given with their numbers of chunks, in at most `most` folders, those with most chunks first.

    Begins with the folder that all lie in, and opens the one with most chunks again and again: its subfolders then
    count for themselves, and what lies in it directly, or in those of them that there is no room for, stays with it.
    Each document is counted once.
    """
    whole = Folder(common_folder(list(chunks)))
    for document, number in chunks.items():
        _add(whole, document, number)
    closed: list[Folder] = []
    left = [whole] if chunks else []
    while left:
        left.sort(key=lambda each: each.chunks)
        largest = left.pop()
        room = most - len(closed) - len(left)
        direct, parts = _opened(largest, chunks)
        parts.sort(key=lambda each: (-each.chunks, each.path))
        kept = parts if len(parts) + bool(direct.documents) <= room else parts[: room - 1]
        if not kept or len(parts) + bool(direct.documents) < 2:
            closed.append(largest)
            continue
        for part in parts[len(kept) :]:
            for document in part.members:
                _add(direct, document, chunks[document])
        closed += [direct] if direct.documents else []
        left += kept
    return sorted(closed, key=lambda each: (-each.chunks, each.path))


def _add(folder: Folder, document: str, chunks: int) -> None:
    folder.documents += 1
    folder.chunks += chunks
    folder.members.append(document)


def _opened(folder: Folder, chunks: Mapping[str, int]) -> tuple[Folder, list[Folder]]:
    """What lies in the folder directly, and its subfolders, each as deep as all of it lies."""
    parts: dict[str, list[str]] = defaultdict(list)
    for document in folder.members:
        below, slash, _ = document[len(folder.path) :].partition("/")
        parts[below + slash if slash else ""].append(document)
    found = {name: Folder(common_folder(members) if name else folder.path) for name, members in parts.items()}
    for name, members in parts.items():
        for document in members:
            _add(found[name], document, chunks[document])
    return found.pop("", Folder(folder.path)), list(found.values())


def common_folder(documents: list[str]) -> str:
    """The folder, ending in "/", that all of these lie in; "" where there is none."""
    first, last = min(documents, default=""), max(documents, default="")
    same = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[: first.rfind("/", 0, same) + 1]
