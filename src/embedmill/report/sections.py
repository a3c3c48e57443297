"""The page's text about what a store holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from embedmill.report.contents import Measured, StoreContents
from embedmill.report.markup import escaped, figure, panel, table
from embedmill.report.sample import SampledChunk

_PLACES: Final = 3  # that are named of a text which several chunks have

_SEARCH: Final = """<div class="search">
<input id="query" type="search" placeholder="Search texts and paths" aria-label="Search texts and paths"
  autocomplete="off" spellcheck="false"><span id="found" class="soft" role="status"></span>
</div>
"""


def head(url: str, contents: StoreContents | None, now: datetime) -> str:
    """What the page is about, and the numbers that say most."""
    facts = _facts(contents) if contents is not None else []
    cards = "".join(f"<div><dt>{name}</dt><dd>{escaped(value)}</dd></div>\n" for name, value in facts)
    model = ""
    if contents is not None and contents.status.model:
        held = contents.status
        model = escaped(f"{held.model} in {', '.join(held.precision)}, space {held.space}")
    return f"""<header>
<h1>embedmill report</h1>
<p class="store">{escaped(url)}</p>
<p>{model}</p>
<p class="soft">made {now:%Y-%m-%d %H:%M} UTC</p>
<dl class="facts">
{cards}</dl>
</header>"""


def _facts(contents: StoreContents) -> list[tuple[str, str]]:
    held = contents.status
    facts = [
        ("documents", f"{held.documents:,}"),
        ("chunks", f"{held.chunks:,}"),
        ("failures", f"{held.failures:,}"),
        ("megabytes", f"{held.bytes / 1e6:,.1f}"),
        ("dimensions", f"{held.dimension:,}" if held.dimension else "none"),
    ]
    if contents.measured is None:
        return facts
    quality = contents.measured.quality
    return [
        *facts,
        ("effective dimension", f"{quality.effective_dimension:,.1f}"),
        ("exact duplicates", f"{quality.exact_duplicates:.1%}"),
        ("near duplicates", f"{quality.near_duplicates:.1%}"),
        ("mean cosine of pairs", "none" if quality.mean_cosine is None else f"{quality.mean_cosine:.3f}"),
    ]


def contents_sections(
    contents: StoreContents, plots: Collection[str], prefix: str, key: Sequence[tuple[str, str]], shown: int
) -> str:
    """The map, the plots and the duplicates.

    `plots` are those there are, `prefix` the folder that all documents lie in, `key` the folders with their colours,
    and `shown` the characters of a text.
    """
    measured = contents.measured
    if measured is None:
        return "<h2>Contents</h2>\n<p>The store holds no vectors yet.</p>"
    captions = _captions(contents, measured, prefix)
    drawn = "\n".join(figure(name, *caption) for name, caption in captions.items() if name in plots)
    return f"""<h2>Map</h2>
{_map(measured, prefix, key, shown)}
<h2>Contents</h2>
<div class="grid">
{drawn}
</div>
<h2>Duplicates</h2>
<div class="grid">
{_exact(measured, prefix)}
{_near(measured, prefix)}
</div>"""


def _captions(contents: StoreContents, measured: Measured, prefix: str) -> dict[str, tuple[str, str]]:
    quality, spread = measured.quality, measured.spread
    asked = len(measured.neighbours.rows) if measured.neighbours else 0
    return {
        "folders": ("Documents by folder", f"Chunks below {escaped(prefix or '/')}; the largest folders are opened."),
        "tokens": ("Chunk lengths", "Tokens that the model has read of each chunk, its headings and prompt included."),
        "neighbours": (
            "Nearest neighbours",
            f"The cosine of {asked:,} chunks to the nearest other one on the map. From {quality.near:g} on two chunks "
            "are near duplicates.",
        ),
        "spectrum": (
            "Effective dimension",
            f"{quality.effective_dimension:,.1f} of {contents.status.dimension:,} (participation ratio). Half of the "
            f"variance lies in {spread.components_for(0.5):,} principal components, 90 % in "
            f"{spread.components_for(0.9):,}.",
        ),
        "norms": (
            "Norms",
            f"From {quality.norm_min:.4f} to {quality.norm_max:.4f}, mean {quality.norm_mean:.4f}. Where the model "
            "normalises all are 1, but for rounding.",
        ),
    }


def _map(measured: Measured, prefix: str, key: Sequence[tuple[str, str]], shown: int) -> str:
    kept, offered = len(measured.sample.chunks), measured.sample.offered
    which = f"All {offered:,} chunks" if kept == offered else f"{kept:,} of {offered:,} chunks, chosen at random"
    share = measured.spread.shares[:2].sum()
    caption = (
        f"{which}, on the plane of the first two principal components. These have {share:.0%} of the variance: what "
        f"lies near here may be far in the other dimensions. Shown and searched are the first {shown} characters of "
        "each chunk."
    )
    dot = '<svg viewBox="0 0 10 10" aria-hidden="true"><circle cx="5" cy="5" r="5" fill="{}"/></svg>'
    names = "".join(f"<li>{dot.format(color)}{escaped(name)}</li>\n" for name, color in key)
    after = f'<ul class="key">\n{names}</ul><ul id="hits" aria-label="Chunks found"></ul>'
    return figure("map", f"Chunks below {escaped(prefix or '/')}", caption, _SEARCH, after)


def _exact(measured: Measured, prefix: str) -> str:
    about = f"{measured.quality.exact_duplicates:.1%} of all chunks come once more further on, to the last bit."
    if not measured.exact:
        return panel("Exact", f"{about} No two texts on the map are the same.")
    rows = []
    for each in measured.exact:
        places = [_place(chunk, prefix) for chunk in each.chunks[:_PLACES]]
        places += [f"and {each.count - _PLACES:,} more"] if each.count > _PLACES else []
        rows.append((f"{each.count:,}", f"<b>{'<br>'.join(places)}</b>{escaped(each.chunks[0].text)}"))
    return panel("Exact", about, table([("times", "number"), ("text", "text")], rows))


def _near(measured: Measured, prefix: str) -> str:
    quality = measured.quality
    about = (
        f"{quality.near_duplicates:.1%} of {quality.near_sampled:,} chunks have one of cosine {quality.near:g} or more "
        "further on, exact ones included."
    )
    if not measured.near:
        return panel("Near", f"{about} None with different texts was found.")
    rows = [
        (f"{each.cosine:.4f}", *(f"<b>{_place(chunk, prefix)}</b>{escaped(chunk.text)}" for chunk in each.chunks))
        for each in measured.near
    ]
    columns = [("cosine", "number"), ("one", "text"), ("the other", "text")]
    return panel("Near", f"{about} The nearest with different texts:", table(columns, rows))


def _place(chunk: SampledChunk, prefix: str) -> str:
    return escaped(chunk.document.removeprefix(prefix) + (f":{chunk.line}" if chunk.line else ""))
