"""How stores have answered questions, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from embedmill.api.evaluate import Answer, Evaluation, StoreEvaluation
from embedmill.cli.output import masked, one_line
from embedmill.cli.render.hits import in_one_line
from embedmill.cli.render.wording import counted, place

_LISTED: Final = 20  # questions, one by one


def for_people(found: Evaluation) -> str:
    """A column for each store; then the questions that failed, and of two stores those answered differently."""
    rows = [
        ("store", *(masked(each.store) for each in found.stores)),
        ("model", *(each.model for each in found.stores)),
        ("documents", *(f"{each.documents:,}" for each in found.stores)),
        (f"recall@{found.k}", *(f"{each.recall:.4f}" for each in found.stores)),
        (f"MRR@{found.k}", *(f"{each.mrr:.4f}" for each in found.stores)),
        (f"nDCG@{found.k}", *(f"{each.ndcg:.4f}" for each in found.stores)),
        ("failed", *(f"{len(each.failed):,} of {counted(found.questions, 'question')}" for each in found.stores)),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(found.stores) == 1:
        lines += _listed(list(map(_failed, found.stores[0].failed)))
    else:
        for which, store in zip(("first", "second"), found.stores, strict=True):
            if store.failed:
                lines += [f"{which} store: {len(store.failed):,} failed", *_listed(list(map(_failed, store.failed)))]
        lines += _compared(*found.stores)
    return "\n".join(map(one_line, lines))


def _compared(one: StoreEvaluation, other: StoreEvaluation) -> Iterator[str]:
    pairs = [(a, b) for a, b in zip(one.answers, other.answers, strict=True) if a.rank != b.rank]
    earlier = sum(_order(b) < _order(a) for a, b in pairs)
    yield f"second store: {earlier:,} answered better, {len(pairs) - earlier:,} worse"
    pairs.sort(key=lambda pair: _order(pair[1]) - _order(pair[0]), reverse=True)  # what was lost comes first
    yield from _listed([f"{_question(a)}: rank {a.rank or 'none'}, then {b.rank or 'none'}" for a, b in pairs])


def _order(answer: Answer) -> float:
    return answer.rank or float(1 << 30)


def _failed(answer: Answer) -> str:
    first = f"; first came {place(answer.found[0])}" if answer.found else ""
    return f"{_question(answer)}: not found: {', '.join(map(place, answer.documents[:3]))}{first}"


def _question(answer: Answer) -> str:
    return f"{answer.place}: {in_one_line(answer.question)}"


def _listed(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - _LISTED:,} more: --json has all"] if len(lines) > _LISTED else []
    return [*lines[:_LISTED], *more]
