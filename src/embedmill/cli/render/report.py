"""What a store holds and how runs went, in a few lines for people."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from embedmill.api.report import StoreReport
from embedmill.cli.output import masked, one_line
from embedmill.cli.render.wording import counted, in_bytes, in_time, table
from embedmill.engine.run_log import RecordedRun
from embedmill.report.contents import StoreContents
from embedmill.runtime.paths import quote_path

_RUNS: Final = 5
_FOLDERS: Final = 5


def summary(report: StoreReport) -> str:
    """All that the page says, as far as it can be said in words."""
    rows = [("store", masked(report.url))]
    if report.contents is not None:
        size = in_bytes(report.contents.status.bytes)
        rows = [("store", f"{masked(report.url)} ({size})"), *_contents(report.contents)]
    rows += [("runs" if not number else "", _run(run)) for number, run in enumerate(report.runs[:_RUNS])]
    return table([(name, one_line(value)) for name, value in rows])


def _contents(contents: StoreContents) -> list[tuple[str, str]]:
    held, facts = contents.status, contents.to_dict()
    rows = [
        ("documents", f"{held.documents:,}"),
        ("chunks", f"{held.chunks:,}"),
        ("failures", f"{held.failures:,}" if held.failures else ""),
        ("model", held.model or "none yet"),
    ]
    folders = [
        f"{quote_path(each.path) or 'in none'}: {counted(each.documents, 'document')}, {counted(each.chunks, 'chunk')}"
        for each in contents.folders[:_FOLDERS]
    ]
    if len(contents.folders) > _FOLDERS:
        folders.append(f"and {counted(len(contents.folders) - _FOLDERS, 'more folder')}")
    rows += [("folders" if not number else "", line) for number, line in enumerate(folders)]
    if tokens := facts["tokens"]:
        least, most = tokens["min"], tokens["max"]
        rows.append(("tokens", f"median {tokens['median']:,.0f} a chunk, from {least:,.0f} to {most:,.0f}"))
    measured = contents.measured
    if measured is None:
        return rows
    quality, components = measured.quality, measured.spread.components_for(0.9)
    rows.append(("norms", f"{quality.norm_min:.4f} to {quality.norm_max:.4f}, mean {quality.norm_mean:.4f}"))
    if quality.mean_cosine is not None:
        rows.append(("cosines", f"mean of random pairs {quality.mean_cosine:.3f}"))
    if nearest := facts["nearest_cosines"]:
        rows.append(("", f"median to the nearest other chunk {nearest['median']:.3f}"))
    return [
        *rows,
        (
            "duplicates",
            f"exact {quality.exact_duplicates:.1%}, near (cosine {quality.near:g}) {quality.near_duplicates:.1%}",
        ),
        (
            "dimensions",
            f"{held.dimension:,}, effective {quality.effective_dimension:,.1f}; 90 % of the variance in {components:,}",
        ),
    ]


def _run(run: RecordedRun) -> str:
    began = datetime.fromtimestamp(run.began).strftime("%Y-%m-%d %H:%M")
    what = f"{began} {run.command} {run.table}".rstrip()
    if not run.report:
        return f"{what}: {run.outcome}"
    done = f"{counted(run.report['chunks'], 'row' if run.table else 'chunk')} in {in_time(run.report['seconds'])}"
    known = f", {run.report['cached']:,} cached" if run.report["cached"] else ""
    return f"{what}: {run.outcome}, {done}{known}"
