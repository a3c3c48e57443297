"""The values of a manifest with their places, whatever file they come from; and the mistakes found there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from embedmill.runtime.passwords import masked
from embedmill.runtime.paths import quote_path

LARGEST: Final = 16 << 20
"""Bytes of a manifest: some hundred thousand jobs. So a device without end is no trap."""

DEEPEST: Final = 20
"""Values within one another; a manifest's own have five: a list of matrices, with axes, of lists."""

MOST_NODES: Final = 200_000
"""Values of one manifest, those that aliases repeat counted each time: so they cannot grow without end."""

_DIGITS: Final = 18  # of a whole number, its sign included

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file; line and column count from 1, and are 0 for the file as a whole."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        if not self.line:
            return quote_path(self.file)
        return f"{quote_path(self.file)}, line {self.line:,}, column {self.column:,}"


@dataclass(frozen=True, slots=True)
class ManifestNode:
    """A value and where it stands."""

    value: Scalar | tuple[ManifestNode, ...] | tuple[Pair, ...]
    place: Place
    kind: str  # "scalar", "list" or "mapping": an empty list and an empty mapping look alike otherwise

    @property
    def items(self) -> tuple[ManifestNode, ...]:
        """The values of a list; of anything else none."""
        return self.value if self.kind == "list" else ()  # type: ignore[return-value]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs of a mapping, in order, keys that stand there twice too; of anything else none."""
        return self.value if self.kind == "mapping" else ()  # type: ignore[return-value]

    def plain(self) -> object:
        """The value as JSON has it, without places; of a key that stands there twice the last."""
        if self.kind == "mapping":
            return {pair.key: pair.node.plain() for pair in self.pairs}
        return [item.plain() for item in self.items] if self.kind == "list" else self.value


@dataclass(frozen=True, slots=True)
class Pair:
    """A key of a mapping, with its place and value."""

    key: str
    place: Place
    node: ManifestNode


class NotRead(Exception):
    """A file cannot be read as a manifest at all, for one reason; `place` says where, as far as that is known."""

    def __init__(self, what: str, place: Place) -> None:
        super().__init__(what)
        self.what, self.place = what, place


class Mistakes:
    """All that is wrong with some manifests, in the order of the files."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, int, str], str] = {}

    def add(self, place: Place, what: str) -> None:
        """Note a mistake, one line without passwords; what is said of a place already is not said again."""
        what = masked(what)
        shown = what if what.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in what)
        self._found[(place.file, place.line, place.column, shown)] = f"{place}: {shown}"

    def lines(self) -> list[str]:
        """A line for each."""
        return [self._found[key] for key in sorted(self._found)]

    def __bool__(self) -> bool:
        return bool(self._found)


def known_keys(node: ManifestNode, mistakes: Mistakes, name: Callable[[str], str]) -> dict[str, Pair]:
    """The pairs of a mapping by their names; one that stands there twice is a mistake, and its first counts."""
    found: dict[str, Pair] = {}
    for pair in node.pairs:
        first = found.setdefault(name(pair.key), pair)
        if first is not pair:
            spelt = "" if first.key == pair.key else f", as {first.key!r} and {pair.key!r}"
            mistakes.add(
                pair.place,
                f"the key {pair.key!r} stands there twice{spelt}, first in line {first.place.line:,}: "
                "leave one of them out",
            )
    return found


def number(written: str, place: Place) -> int | float:
    """A number as JSON writes it. Raises `NotRead` for one that is too long, or too large, to mean anything."""
    value = int(written) if len(written) <= _DIGITS and written.lstrip("+-").isdecimal() else float(written)
    if not math.isfinite(value):
        raise NotRead(f"{written[:40]} is too large a number: correct it", place)
    return value
