"""Tests leave lines of progress out, all of them and nothing else: a slow machine has time to write some."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_runs import without_progress
from embedmill.cli.progress import AnyProgress, Lines, Listing, ListProgress
from embedmill.core.reports import Progress, VerifyProgress
from embedmill.core.table_reports import IngestProgress

MANY = st.integers(0, 3_000_000)
SECONDS = st.floats(0, 100_000)
SHARE = st.none() | st.floats(0, 1)
OF_FILES = st.builds(Progress, *[MANY] * 10, SECONDS)
OF_ROWS = st.builds(IngestProgress, MANY, st.none() | st.integers(3_000_000, 9_000_000), MANY, MANY, SECONDS)
OF_VERIFYING = st.builds(VerifyProgress, MANY, MANY, SECONDS)
OF_LISTS = st.builds(ListProgress, st.sampled_from(["texts", "searches"]), MANY, st.integers(1, 9_000_000), SECONDS)
DOING = st.sampled_from(["building the index", "building the index: loading tuples"])
OF_INDEXES = st.builds(IngestProgress, MANY, MANY, MANY, MANY, SECONDS, DOING, SHARE)


class Listed(Listing):
    """What is known of the whole from the beginning."""

    def __init__(self, total: int) -> None:
        super().__init__(None)
        self.bytes = total


def told(states: list[AnyProgress], total: int | None) -> str:
    stream = io.StringIO()
    lines = Lines(stream, Listing(None) if total is None else Listed(total), every=0)
    for state in states:
        lines.show(state)
    return stream.getvalue()


def half(state: Any) -> Any:
    """How the run stood half as far on."""
    whole = asdict(state)
    done = {name: value // 2 for name, value in whole.items() if isinstance(value, int) and name != "total"}
    return replace(state, **done, seconds=state.seconds / 2)


@given(st.one_of(OF_FILES, OF_ROWS, OF_VERIFYING, OF_LISTS), st.none() | st.integers(1, 1 << 40))
def test_lines_of_progress_are_left_out(state: AnyProgress, total: int | None) -> None:
    shown = told([half(state), state], total)
    assert shown and without_progress(f"{shown}error: no\n{shown}") == "error: no\n", shown


@given(OF_INDEXES)
def test_so_are_those_about_an_index(state: IngestProgress) -> None:
    shown = told([state], None)
    assert shown and without_progress(shown) == ""


@pytest.mark.parametrize(
    "line",
    [
        "documents 3, chunks 5: no\n",
        "rows 5 are wrong\n",
        "documents that are gone: 5\n",
        "warning: rows 5\n",
        "texts 5, unknown\n",
        "vectors 5, computed wrongly 3\n",
        "\n",
    ],
)
def test_whatever_else_is_said_stays(line: str) -> None:
    assert without_progress(f"{line}rows 5\n{line}") == line * 2
