"""Jobs that arrange trees of terms: what a manifest says of them, and what is wrong with it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from embedmill.jobs.manifest.each import jobs_of_each
from embedmill.taxonomy.formats.registry import read_tree
from manifests import fill, mistakes, of_jobs, read

WORDS = {"name": "words", "arrange": "terms.txt", "output": "out/terms.yaml"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "here")


def test_options_are_as_they_are_written(folder: Path) -> None:
    (folder / "over.yaml").write_text("plants: {max-leaf: 20}")
    (job,) = read(
        folder,
        """
        defaults: {workers: 2, case: title}
        jobs:
          - arrange: terms.txt
            output: out/terms.csv
            format: jsonl
            input-format: flat
            threshold: 0.2
            skip: [a, b]
            exclude-subtree: c
            limit: 0
            depth: 0
            shape: true
            overrides: over.yaml
        """,
    ).jobs
    assert (job.name, job.command) == ("arrange terms.txt", "arrange")
    assert job.arguments == {
        "input": f"{folder}/terms.txt",
        "output": f"{folder}/out/terms.csv",
        "workers": 2,
        "case": "title",
        "format": "jsonl",
        "input_format": "flat",
        "threshold": 0.2,
        "skip": ["a", "b"],
        "exclude_subtree": ["c"],
        "limit": 0,
        "depth": 0,
        "shape": True,
        "overrides": f"{folder}/over.yaml",
    }


def test_a_manifest_of_all_kinds_and_a_matrix(folder: Path) -> None:
    found = read(
        folder / "docs",
        """
        defaults: {model: all-MiniLM-L6-v2, workers: 2}
        jobs:
          - {name: docs,   index: ../docs, store: "sqlite:out/docs.db"}
          - {name: words,  arrange: ../terms.txt, output: out/terms.yaml}
          - {name: rows,   ingest: notes, store: "sqlite:../app.db"}
        matrix: {base: {arrange: ../terms.txt, output: out/terms.yaml},
                 axes: {max-leaf: [20, 40], threshold: [0.1, 0.2]}}
        """,
    ).jobs
    assert [job.name for job in found[:3]] == ["docs", "words", "rows"]
    labels = [f"max-leaf={leaf},threshold={least}" for leaf, least in itertools.product([20, 40], [0.1, 0.2])]
    assert [(job.name, job.arguments["output"]) for job in found[3:]] == [
        (label, f"{folder}/docs/out/terms-{label}.yaml") for label in labels
    ]


def test_jobs_of_a_matrix_write_files_of_their_own(folder: Path) -> None:
    base = {"arrange": "terms.txt", "output": "out/terms.yaml", "model": "test:32", "threshold": -1, "cache": False}
    found = read(folder, of_jobs(matrix={"base": base, "axes": {"max-leaf": [10, 20], "min-group": [3]}})).jobs
    reports = [job.bound()() for job in found]
    assert [report.after.longest <= most for report, most in zip(reports, (10, 20), strict=True)] == [True, True]
    for job in found:
        assert read_tree(Path(job.arguments["output"])).term_counts().total() == 60


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"arrange": "terms.txt"}, "output is missing: say where the tree is to be written, or give dry-run"),
        ({"dry-run": True}, "dry-run writes nothing: leave output out"),
        ({"arrange": "none.txt"}, "none.txt is not there"),
        ({"arrange": "docs"}, "docs is a folder: give a file with terms"),
        ({"arrange": ["terms.txt"]}, "arrange: ['terms.txt'] does not fit: expected some text"),
        ({"output": "out.xml"}, "out.xml ends in none of .yaml"),
        ({"output": "terms.txt/a.yaml"}, "terms.txt is no folder: give another"),
        ({"format": "xml"}, "format: 'xml' does not fit: expected yaml or jsonl or csv or txt-folder"),
        ({"max-leaf": 1}, "max-leaf: 1 does not fit: expected a whole number from 2"),
        ({"max-leaf": 3, "shape": True}, "min-leaf is 5 and max-leaf 3: no list keeps both"),
        ({"min-leaf": 3}, "min-leaf is for shape: give both"),
        ({"threshold": 1.5}, "threshold: 1.5 does not fit: expected a cosine, from -1 to 1"),
        ({"threshold": "0.5"}, "threshold: '0.5' does not fit: expected a number"),
        ({"limit": -1}, "limit: -1 does not fit: expected a whole number from 0"),
        ({"preset": "auto"}, "preset: 'auto' does not fit: expected ultra-detailed or detailed"),
        ({"exclude-regex": "["}, "exclude-regex '[' is no regular expression"),
        ({"comment-template": "{x}"}, "comment-template '{x}' does not fit: in braces"),
        ({"overrides": "none.yaml"}, "none.yaml is not there"),
        ({"overrides": "terms.txt"}, "terms.txt"),
        ({"glosses": "terms.txt"}, "glosses is for {text} in comment-template"),
        ({"flatten": True, "depth": 1}, "flatten leaves no levels for depth"),
        ({"store": "sqlite:a.db"}, "arrange has no use for store: leave it out"),
        ({"input": "terms.txt"}, "unknown key 'input' of arrange"),
        ({"max-leave": 5}, "unknown key 'max-leave' of arrange; did you mean 'max-leaf'?"),
        ({"index": "docs"}, "the job has 2 commands, arrange and index: make a job of each"),
        ({"max-memory-mb": 500}, "max-memory-mb is for worker processes"),
    ],
)
def test_what_arrange_refuses_is_refused(folder: Path, job: dict[str, Any], said: str) -> None:
    whole = job if job == {"arrange": "terms.txt"} else WORDS | job
    (told,) = mistakes(folder, of_jobs(whole))
    assert said in told


def test_two_jobs_with_one_output_are_refused(folder: Path) -> None:
    for output in ("out/terms.yaml", "x/../out/terms.yaml"):
        (told,) = mistakes(folder, of_jobs(WORDS, WORDS | {"name": "more", "output": output}))
        assert "'more' writes the file out/terms.yaml, as 'words' in line 1 does: give it another file" in told
    dry = {"name": "dry", "arrange": "terms.txt", "dry-run": True}
    assert len(read(folder, of_jobs(WORDS, dry, dry | {"name": "more"})).jobs) == 3


def test_an_option_that_kinds_have_in_common_by_name_alone_is_no_default(folder: Path) -> None:
    docs = {"index": "docs", "store": "sqlite:docs.db"}
    (told,) = mistakes(folder, of_jobs(WORDS, docs, defaults={"preset": "flat"}))
    assert "preset is one option of arrange and another of index: give it to the jobs themselves" in told
    for kind, value in ((WORDS, "flat"), (docs, "low-memory")):
        (job,) = read(folder, of_jobs(kind, defaults={"preset": value})).jobs
        assert job.arguments["preset"] == value


def test_a_tree_of_each_file(folder: Path) -> None:
    (folder / "more.yaml").write_text("a: [b, c]")
    found = jobs_of_each(folder, "*.txt", "arrange", folder / "out", {"max-leaf": 20}).jobs
    assert [(job.name, job.arguments["output"]) for job in found] == [("terms.txt", f"{folder}/out/terms.txt.yaml")]
    (again,) = jobs_of_each(folder, "*.yaml", "arrange", folder / "out").jobs
    assert again.arguments["output"] == f"{folder}/out/more.yaml"
