"""Jobs as they are written, before anything is checked of them: of `jobs`, and of each combination of a matrix."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from embedmill.core.checks import suggestion
from embedmill.jobs.job_options import known_name, spelt
from embedmill.jobs.manifest.nodes import ManifestNode, Mistakes, Pair, Place, known_keys

MOST_JOBS: Final = 10_000
"""Jobs of one matrix: more are rather a mistake in its axes."""

MATRIX_KEYS: Final = ("base", "axes")


@dataclass(frozen=True, slots=True)
class Draft:
    """A job as it is written."""

    pairs: Mapping[str, Pair]  # by the keys, with underscores
    place: Place
    axes: tuple[str, ...] = ()  # those of the pairs that are of its matrix's axes


def listed(node: ManifestNode, mistakes: Mistakes) -> Iterator[Draft]:
    """The jobs of `jobs`."""
    if node.kind != "list":
        mistakes.add(node.place, "`jobs` is no list: begin each job with a hyphen, or put them into [...]")
    elif not node.items:
        mistakes.add(node.place, "`jobs` is empty: add a job, or leave it out")
    for item in node.items:
        if item.kind == "mapping":
            yield Draft(known_keys(item, mistakes, known_name), item.place)
        else:
            mistakes.add(item.place, "is no job: give a mapping, as in {index: docs}")


def combined(node: ManifestNode, mistakes: Mistakes) -> Iterator[Draft]:
    """The jobs of `matrix`, which is one matrix or a list of them."""
    matrices = node.items if node.kind == "list" else (node,)
    if not matrices:
        mistakes.add(node.place, "`matrix` is empty: give it `base` and `axes`, or leave it out")
    for matrix in matrices:
        yield from _of_matrix(matrix, mistakes)


def _of_matrix(node: ManifestNode, mistakes: Mistakes) -> Iterator[Draft]:
    if node.kind != "mapping":
        mistakes.add(node.place, "is no matrix: give {base: {...}, axes: {OPTION: [VALUE, ...]}}")
        return
    found = known_keys(node, mistakes, str)
    for key, pair in found.items():
        if key not in MATRIX_KEYS:
            near = suggestion(key, MATRIX_KEYS) or "; a matrix has `base` and `axes`"
            mistakes.add(pair.place, f"unknown key {key!r} of a matrix{near}")
    if "axes" not in found or found["axes"].node.kind != "mapping" or not found["axes"].node.pairs:
        place = found["axes"].node.place if "axes" in found else node.place
        mistakes.add(place, "a matrix has no axes: give axes: {OPTION: [VALUE, ...]}, or make it a job of `jobs`")
        return
    base: dict[str, Pair] = {}
    if "base" in found:
        if found["base"].node.kind != "mapping":
            mistakes.add(
                found["base"].node.place, "`base` is no mapping: give what the jobs share, as in {index: docs}"
            )
            return
        base = known_keys(found["base"].node, mistakes, known_name)
    axes = _axes(found["axes"].node, base, mistakes)
    number = math.prod(map(len, axes.values()))
    if number > MOST_JOBS:
        mistakes.add(
            node.place, f"makes {number:,} jobs, at most {MOST_JOBS:,} are taken: leave values of its axes out"
        )
        return
    for values in itertools.product(*axes.values()):
        yield Draft(base | dict(zip(axes, values, strict=True)), node.place, tuple(axes))


def _axes(node: ManifestNode, base: Mapping[str, Pair], mistakes: Mistakes) -> dict[str, list[Pair]]:
    """Each axis with a pair for each of its values; those that are none are left out, and mistakes."""
    axes: dict[str, list[Pair]] = {}
    for name, pair in known_keys(node, mistakes, known_name).items():
        if name == "name":
            mistakes.add(pair.place, "`name` is no axis: jobs of a matrix are named by their values")
        elif name in base:
            mistakes.add(pair.place, f"{spelt(name)} is in `base` too: leave it out there, or here")
        elif not pair.node.items:
            mistakes.add(pair.node.place, f"the axis {spelt(name)} has no values: give a list, as in [20, 40]")
        else:
            axes[name] = [Pair(pair.key, value.place, value) for value in _distinct(name, pair.node, mistakes)]
    return axes


def _distinct(name: str, node: ManifestNode, mistakes: Mistakes) -> list[ManifestNode]:
    found: dict[str, ManifestNode] = {}
    for item in node.items:
        value = item.plain()
        whole = isinstance(value, float) and value.is_integer()
        same = json.dumps(int(value) if whole else value, sort_keys=True)  # type: ignore[call-overload]
        if found.setdefault(same, item) is not item:
            mistakes.add(item.place, f"the axis {spelt(name)} has this value twice: leave one out")
    return list(found.values())
