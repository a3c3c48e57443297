"""What people, and programs, read of a store or table that was verified."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from embedmill.cli import output
from embedmill.cli.render.wording import amounts, counted

if TYPE_CHECKING:
    from embedmill.api.verify import Verdict
    from embedmill.engine.quality import Quality


SHOWN: Final = 10
"""Problems of a kind that are shown, where not all are asked for."""


def facts(verdict: Verdict, table: str | None, exceeded: Sequence[str]) -> dict[str, Any]:
    """The JSON object."""
    told: dict[str, Any] = {
        "store": output.masked(verdict.store),
        "sound": verdict.sound,
        "count": verdict.problems,
        "damage": {
            kind: {"count": count, "examples": list(verdict.examples.get(kind, ()))}
            for kind, count in verdict.damage.items()
        },
        "recomputed": verdict.recomputed,
        "not_recomputed": verdict.not_recomputed or None,
        "quality": verdict.quality.to_dict() if verdict.quality else None,
        "exceeded": list(exceeded),
        "repaired": None if verdict.repaired is None else dict(verdict.repaired),
    }
    if table is None:
        return told | {"vanished": dict(verdict.vanished)}
    return told | {"table": table, "unknown_origin": verdict.unknown}


def summary(verdict: Verdict, table: str | None) -> Iterator[str]:
    """Lines for people: what was mended, what is sound, and what the vectors are like."""
    if verdict.repaired is not None:
        mended = amounts((count, kind) for kind, count in verdict.repaired.items())
        if mended:
            yield f"mended: {mended}"
        for kind in verdict.damage:
            yield from (f"left: {output.one_line(example)}" for example in verdict.examples[kind])
    if verdict.problems:
        if verdict.repaired is None and not output.verbose():
            for kind, count in verdict.damage.items():
                if count > SHOWN:
                    yield f"{kind}: {count - SHOWN:,} more, which -v shows"
        return
    what = f"{counted(verdict.documents or 0, 'document')}, {counted(verdict.chunks or 0, 'chunk')}"
    if table is not None:
        rows = (verdict.chunks or 0) + verdict.unknown - verdict.unproven
        if verdict.unproven and not rows:
            return
        what = f"{counted(rows, 'row')} of {table}"
    again = f"{counted(verdict.recomputed, 'vector')} computed again"
    yield f"sound: {what} in {output.masked(verdict.store)}; {again}"
    if verdict.quality is not None:
        yield _of_vectors(verdict.quality)


def _of_vectors(quality: Quality) -> str:
    alike = "" if quality.mean_cosine is None else f", mean cosine of two {quality.mean_cosine:.3f}"
    return (
        f"vectors: lengths {quality.norm_min:.4f} to {quality.norm_max:.4f}{alike}, "
        f"duplicates {quality.exact_duplicates:.1%}, near duplicates {quality.near_duplicates:.1%}, "
        f"effective dimension {quality.effective_dimension:,.1f}"
    )


def unproven(verdict: Verdict, table: str | None, model: str | None) -> str:
    """The error where vectors are of unknown origin, and none of them was computed again: where, and what to do."""
    vectors = counted(verdict.unproven, "vector")
    remedy = "" if model is not None else "give the --model that they are of to compute some again, or "
    return (
        f"error: {vectors} of unknown origin in {table} in {output.masked(verdict.store)}: whether they are sound is "
        f"not known: {remedy}`embedmill ingest {shlex.quote(table or '')} --overwrite` embeds all rows anew"
    )


def left(verdict: Verdict, table: str | None) -> str:
    """The error where something is wrong: how much, where, and what to do."""
    url = output.masked(verdict.store)
    where = f"the store {url}" if table is None else f"{table} in {url}"
    problems = f"error: {counted(verdict.problems, 'problem')} in {where}"
    if verdict.repaired is None:
        return f"{problems}: --repair mends what can be mended"
    remedy = "index into a new store" if table is None else "set these rows' vectors to NULL and ingest again"
    reason = f" ({verdict.not_recomputed})" if verdict.not_recomputed else ""
    return f"{problems} left{reason}: put back a backup, or {remedy}"
