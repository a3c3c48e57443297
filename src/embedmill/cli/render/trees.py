"""Trees of terms, and what was done to them, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from embedmill.api.arrange_report import ArrangeReport
from embedmill.cli.output import one_line
from embedmill.cli.render.wording import amounts, counted, table
from embedmill.taxonomy.analyzing import Shape
from embedmill.taxonomy.comparing import Comparison
from embedmill.taxonomy.linting.findings import LintFinding
from embedmill.taxonomy.tree import Branch, Taken, shown

_SHOWN: Final = 5  # terms of each kind


def drawn(tree: Branch) -> str:
    """The branches, indented, each with how many terms it has."""
    lines: list[str] = []
    waiting = [(0, tree)]
    while waiting:
        depth, branch = waiting.pop()
        terms = len(branch.terms)
        told = f" ({counted(terms, 'term')})" if terms else ""
        if branch is not tree or branch.name or terms:
            lines.append(one_line(f"{'  ' * depth}{branch.name or 'the top'}{told}"))
        inner = depth + bool(branch is not tree or branch.name)
        waiting += [(inner, below) for below in reversed(branch.branches)]
    return "\n".join(lines)


def summary(report: ArrangeReport) -> str:
    """What was done, in a few lines."""
    before, after = report.before, report.after or report.before
    made = counted(len(report.groups), "new group")
    first = f"{counted(after.terms, 'term')} in {counted(after.branches, 'branch', 'branches')}, {made}"
    lines = [f"{first}: {one_line(report.output)}" if report.output else first]
    lines.append(f"longest list {before.longest:,} -> {after.longest:,}, depth {before.depth} -> {after.depth}")
    if report.left_out:
        lines.append(f"{counted(len(report.left_out), 'term')} left out, as asked for")
    if report.counts:
        lines.append(amounts([(report.counts.get(name, 0), name) for name in ("embedded", "cached", "duplicates")]))
    return "\n".join(lines)


def findings(found: Sequence[LintFinding], taken: Sequence[Taken]) -> Iterator[str]:
    """A line for each finding and for each thing taken, then how many there are."""
    for each in found:
        yield one_line(f"{each.kind}: {each.message}")
    for path, name in taken:
        yield one_line(f"taken out: {name!r} of {shown(path)}")
    kinds = Counter(each.kind for each in found)
    told = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    yield counted(len(found), "finding") + (f": {told}" if told else "")


def linted(found: Sequence[LintFinding], taken: Sequence[Taken]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "findings": [asdict(each) for each in found],
        "counts": dict(Counter(each.kind for each in found)),
        "taken": [{"path": list(path), "name": name} for path, name in taken],
    }


def compared(found: Comparison) -> str:
    """How two trees differ, in a table, and the first terms that do."""
    rows = [
        ("kept", f"{found.kept:,}"),
        ("lost", f"{len(found.lost):,}{_first(found.lost)}"),
        ("new", f"{len(found.new):,}{_first(found.new)}"),
        ("moved", f"{len(found.moved):,}{_first([term for term, _, _ in found.moved])}"),
        ("Jaccard", f"{found.jaccard:.4f}"),
        ("ARI", _measure(found.adjusted_rand)),
        ("AMI", _measure(found.adjusted_mutual_information)),
    ]
    return table([(name, one_line(value)) for name, value in rows])


def _first(terms: Sequence[str]) -> str:
    told = ", ".join(map(repr, terms[:_SHOWN]))
    return f": {told}{', ...' if len(terms) > _SHOWN else ''}" if terms else ""


def _measure(value: float | None) -> str:
    return "nothing in common" if value is None else f"{value:.4f}"


def measured(shape: Shape) -> str:
    """The shape of a tree, in a table."""
    return table(
        [
            ("terms", f"{shape.terms:,}, {shape.distinct:,} of them distinct"),
            ("branches", f"{shape.branches:,}, {shape.depth} deep"),
            (
                "lists",
                f"{shape.lists:,}, of {shape.shortest:,} to {shape.longest:,} terms, {shape.median:g} in the median",
            ),
            ("mixed", counted(shape.mixed, "branch with terms beside branches", "branches with terms beside branches")),
            ("limits", f"--max-leaf {shape.max_leaf}, --min-leaf {shape.min_leaf}: 9 of 10 lists keep each"),
        ]
    )
