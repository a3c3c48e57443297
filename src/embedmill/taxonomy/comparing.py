"""Two trees of terms side by side: what both have, and whether they group it alike."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from embedmill.core.errors import MissingExtra
from embedmill.taxonomy.tree import Branch, Path


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a second tree differs from a first one. A term that stands in several places counts as often."""

    kept: int
    """Terms that both have, moved ones too."""
    lost: tuple[str, ...]
    """Terms that the second has not, or not as often."""
    new: tuple[str, ...]
    """Terms that the first has not, or not as often."""
    moved: tuple[tuple[str, Path, Path], ...]
    """Kept terms that stand elsewhere: where they stood, where they stand."""
    jaccard: float
    """Kept terms over all of both; 1 for two empty trees."""
    adjusted_rand: float | None
    """Agreement of the lists of both on the kept terms (Hubert and Arabie, 1985): 0 by chance, 1 for the same; None
    where nothing was kept."""
    adjusted_mutual_information: float | None
    """As that, in information (Vinh, Epps and Bailey, 2010; arithmetic mean)."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


def compare_trees(one: Branch, other: Branch) -> Comparison:
    """Compare two trees by their terms and the lists that these stand in. Raises `MissingExtra`."""
    before, after = _places(one), _places(other)
    lost: list[str] = []
    new: list[str] = []
    pairs: list[tuple[str, Path, Path]] = []
    for text in dict.fromkeys([*before, *after]):
        here, there = before.get(text, []), after.get(text, [])
        staying = [path for path in here if path in there]
        for path in staying[:]:
            if path in there:
                here.remove(path)
                there.remove(path)
                pairs.append((text, path, path))
        pairs += [(text, was, now) for was, now in zip(here, there, strict=False)]
        lost += [text] * max(0, len(here) - len(there))
        new += [text] * max(0, len(there) - len(here))
    total = len(pairs) + len(lost) + len(new)
    rand, information = _agreement([was for _, was, _ in pairs], [now for _, _, now in pairs])
    return Comparison(
        kept=len(pairs),
        lost=tuple(lost),
        new=tuple(new),
        moved=tuple(pair for pair in pairs if pair[1] != pair[2]),
        jaccard=len(pairs) / total if total else 1.0,
        adjusted_rand=rand,
        adjusted_mutual_information=information,
    )


def _places(root: Branch) -> dict[str, list[Path]]:
    """The paths of each term, in order."""
    places: dict[str, list[Path]] = defaultdict(list)
    for path, branch in root.walk():
        for term in branch.terms:
            places[term.text].append(path)
    return places


def _agreement(one: list[Path], other: list[Path]) -> tuple[float | None, float | None]:
    if not one:
        return None, None
    try:
        from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
    except ImportError as error:
        raise MissingExtra("comparing trees", "taxonomies") from error
    first, second = ([*map(" > ".join, paths)] for paths in (one, other))
    return float(adjusted_rand_score(first, second)), float(adjusted_mutual_info_score(first, second))
