"""The metrics of rows that have none, or those of an older text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from embedmill.interfaces import Table
from embedmill.metrics import measure
from embedmill.overlap import ordered, prefetch
from embedmill.records import TokenIds, text_hash
from embedmill.rows import Key, Metrics

_FIRST_PAGE: Final = 250  # rows
_LARGEST_PAGE: Final = 4000
_PAGE_CHARACTERS: Final = 4_000_000
"""Of a page's texts: pages grow while they hold less, so that neither many round trips nor much memory is needed."""

_WRITERS: Final = 2

Encode = Callable[..., Sequence[TokenIds]]


def measure_rows(
    table: Table,
    encode: Encode | None,
    show: Callable[[str, float | None], None] = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Measure the rows that need it, then count how often each text stands in the table.

    `encode` is an embedder's, or None where no tokenizer is at hand. `show` is called after each page. Returns how many
    rows were measured. Raises `StoreError`.
    """
    rows = 0
    with prefetch(_pages(table), depth=2) as pages:

        def measured() -> Iterator[list[tuple[Key, bytes, Metrics]]]:
            for page in pages:
                if stopped():
                    return
                texts = [text for _, text in page]
                tokens = [len(ids) for ids in encode(texts, truncate=False)] if encode else [None] * len(page)
                yield [
                    (key, text_hash("", text), measure(text, number))
                    for (key, text), number in zip(page, tokens, strict=True)
                ]

        for page, _ in ordered(table.write_metrics, measured(), threads=_WRITERS):
            rows += len(page)
            show(f"{rows:,} rows measured", None)
    if not stopped():
        table.finish_metrics()
    return rows


def _pages(table: Table) -> Iterator[list[tuple[Key, str]]]:
    after: Key | None = None
    limit = _FIRST_PAGE
    while page := table.unmeasured(after, limit):
        yield page
        after = page[-1][0]
        characters = sum(len(text) for _, text in page)
        if characters > _PAGE_CHARACTERS:
            limit = max(limit // 2, 1)
        elif characters < _PAGE_CHARACTERS // 2:
            limit = min(2 * limit, _LARGEST_PAGE)
