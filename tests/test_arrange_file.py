"""A file is arranged by a function: what it gives, what it refuses before it begins, and how it is stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest

import embedmill
from embedmill.api.arrange_file import Lengths, arrange_file, check_arrange_file
from embedmill.api.tree_files import InputFormat, OutputFormat
from embedmill.core.errors import SourceError, UsageError
from embedmill.core.reports import ListProgress
from embedmill.taxonomy.arranging import PRESETS
from embedmill.taxonomy.formats.registry import FOLDER, READERS, WRITERS, read_tree

WORDS = ("bread", "rose", "stone", "water", "lamp", "wolf")
TEST: dict[str, Any] = {"model": "test:64", "threshold": -1.0, "cache": False}


@pytest.fixture
def terms(tmp_path: Path) -> Path:
    path = tmp_path / "terms.txt"
    path.write_text("\n".join(f"{word} number {number}" for number in range(30) for word in WORDS))
    return path


def test_a_file_becomes_another_of_the_same_terms(terms: Path) -> None:
    target = terms.with_name("out") / "terms.yaml"
    told: list[ListProgress] = []
    report = arrange_file(terms, target, on_progress=told.append, **TEST)
    assert read_tree(target).term_counts() == read_tree(terms).term_counts()
    assert report.after is not None and report.after.terms == report.before.terms == 180
    assert (report.counts["embedded"], report.executor, report.tree) == (180, "threads", None)
    assert {each.noun for each in told} == {"terms embedded", "lists grouped"}
    assert all(each.done <= each.total for each in told)
    shown = report.to_dict()
    assert json.loads(json.dumps(shown)) == shown and shown["output"] == str(target)


def test_a_dry_run_gives_the_tree_and_writes_nothing(terms: Path) -> None:
    report = arrange_file(str(terms), dry_run=True, **TEST)
    assert report.tree is not None and report.tree.term_counts().total() == 180
    assert report.output is None and [path.name for path in terms.parent.iterdir()] == ["terms.txt"]


@pytest.mark.parametrize("more", [{}, {"executor": "processes", "workers": 1}])
@pytest.mark.parametrize("noun", ["terms embedded", "lists grouped"])
def test_one_that_is_stopped_writes_nothing(terms: Path, noun: str, more: dict[str, Any]) -> None:
    target = terms.with_name("terms.yaml")
    target.write_text("before:\n  - was\n")
    running: list[Any] = []

    def stop(progress: ListProgress) -> None:
        if progress.noun == noun:
            running[0].stop()

    report = arrange_file(terms, target, max_leaf=10, on_start=running.append, on_progress=stop, **TEST, **more)
    assert report.interrupted and report.after is None and report.output is None
    assert report.to_dict()["interrupted"] is True
    assert target.read_text() == "before:\n  - was\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "--output is missing"),
        ({"output": "a.yaml", "dry_run": True}, "--dry-run writes nothing"),
        ({"output": "a.xml"}, "a.xml ends in none of"),
        ({"output": "a.yaml", "format": "xml"}, "--format is 'xml'"),
        ({"dry_run": True, "format": "csv"}, "leave it out with --dry-run"),
        ({"output": os.devnull + "/a.yaml"}, "is no folder: give another"),
        ({"dry_run": "no"}, "dry_run is 'no': give True or False"),
        ({"dry_run": True, "shape": 1}, "shape is 1: give True or False"),
        ({"dry_run": True, "skip": 5}, "skip is 5: give the names of branches"),
        ({"dry_run": True, "limit": -1}, "limit is -1: give a whole number from 0 up"),
        ({"dry_run": True, "depth": "2"}, "depth is '2': give a whole number from 0 up"),
        ({"dry_run": True, "root": 5}, "root is 5: give a name, as text"),
        ({"dry_run": True, "max_leaf": 1}, "max_leaf is 1: give a whole number from 2 up"),
        ({"dry_run": True, "max_leaf": 3}, None),
        ({"dry_run": True, "max_leaf": 3, "shape": True}, "--min-leaf is 5 and --max-leaf 3: no list keeps both"),
        ({"dry_run": True, "exclude_regex": "["}, "--exclude-regex '[' is no regular expression"),
        ({"dry_run": True, "comment_template": "{name"}, "--comment-template '{name' does not fit"),
        ({"dry_run": True, "workers": 0}, "workers: 0 does not fit"),
        ({"dry_run": True, "store": "sqlite:a.db"}, "arrange_file() has no use for store"),
        ({"dry_run": True, "max_leave": 3}, "arrange_file() has no option 'max_leave'; did you mean 'max_leaf'?"),
    ],
)
def test_what_is_refused_is_refused_by_the_check(terms: Path, options: dict[str, Any], said: str | None) -> None:
    if said is None:
        check_arrange_file(**options)
        return
    for refuse in (lambda **given: arrange_file(terms, **given), check_arrange_file):
        with pytest.raises(UsageError) as caught:
            refuse(**options)
        assert said in str(caught.value)


def test_files_beside_the_input_are_read_by_the_check(terms: Path) -> None:
    for option in ({"overrides": terms}, {"glosses": terms, "comment_template": "{text}"}, {"overrides": "none.yaml"}):
        with pytest.raises(SourceError):
            check_arrange_file(dry_run=True, **option)  # type: ignore[arg-type]


def test_formats_and_presets_are_those_there_are() -> None:
    assert {*get_args(InputFormat)} == {*(each.name for each in READERS), FOLDER}
    assert {*get_args(OutputFormat)} == {each.name for each in WRITERS}
    assert {*get_args(Lengths)} == {*PRESETS}


def test_it_is_what_arrange_does_in_memory(terms: Path) -> None:
    report = arrange_file(terms, dry_run=True, **TEST)
    same = embedmill.arrange(terms.read_text().splitlines(), **TEST)
    assert report.tree is not None
    assert [path for path, _ in report.tree.walk()] == [path for path, _ in same.walk()]
