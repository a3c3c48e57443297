"""Matrices, folders of manifests, and a job of each file."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedmill import ManifestError, UsageError, read_manifest
from embedmill.jobs.manifest.each import jobs_of_each
from manifests import TEST_MODEL, fill, mistakes, of_jobs, read

BASE = {"index": "docs", "store": "sqlite:out/docs.db"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "here")


def of_matrix(axes: Any, base: Any = BASE, **more: Any) -> str:
    return json.dumps({"matrix": {"base": base, "axes": axes}, **more})


def test_a_job_for_each_combination_named_by_its_values_with_an_output_of_its_own(folder: Path) -> None:
    found = read(folder, of_matrix({"chunk-tokens": [20, 40], "sleep": [0.1, 0.2]})).jobs
    assert [job.name for job in found] == [
        "chunk-tokens=20,sleep=0.1",
        "chunk-tokens=20,sleep=0.2",
        "chunk-tokens=40,sleep=0.1",
        "chunk-tokens=40,sleep=0.2",
    ]
    assert [(job.arguments["chunk_tokens"], job.arguments["sleep"]) for job in found] == [
        *itertools.product([20, 40], [0.1, 0.2])
    ]
    stores = [job.arguments["store"] for job in found]
    assert stores == [f"sqlite:{folder}/out/docs-{job.label}.db" for job in found]


def test_a_matrix_of_arrange_needs_no_output(folder: Path) -> None:
    (folder / "words.txt").write_text("oak\nelm\n")
    base = {"arrange": "words.txt", "model": "test:8"}
    matrix = {"base": base, "axes": {"max-leaf": [20, 40]}}
    jobs = read(folder, json.dumps({"matrix": matrix})).jobs
    outputs = [f"{folder}/words-max-leaf={most}.yaml" for most in (20, 40)]
    assert [job.arguments["output"] for job in jobs] == outputs
    with pytest.raises(ManifestError, match="output is missing"):
        read(folder, json.dumps({"matrix": matrix | {"base": base | {"format": "csv"}}}))
    with pytest.raises(ManifestError, match="output is missing"):
        read(folder, json.dumps({"jobs": [base]}))


def test_jobs_of_a_matrix_do_what_they_say(folder: Path) -> None:
    text = of_matrix({"chunk-tokens": [16, 64]}, defaults=TEST_MODEL | {"cache": False})
    (folder / "docs" / "long.txt").write_text("Bread is baked in an oven, and eaten at a table. " * 20)
    few, many = sorted(job.bound()().chunks for job in read(folder, text).jobs)
    assert few < many


def test_a_matrix_may_have_a_name_files_of_its_own_and_no_base(folder: Path) -> None:
    text = of_matrix({"hidden": [True, False]}, BASE | {"name": "both", "profile-json": "p.json"})
    assert [(job.name, job.arguments["profile_json"]) for job in read(folder, text).jobs] == [
        (f"both hidden={value}", f"{folder}/p-hidden={value}.json") for value in ("true", "false")
    ]
    axes = {"index": ["docs", ["docs", "docs/rose.md"]], "store": ["sqlite:a.db", "sqlite:b.db"]}
    (told, _) = mistakes(folder, of_matrix(axes, {})), None
    assert (len(told) == 1 and "writes the store sqlite:a.db" in told[0]) or "writes the store" in told[0]
    found = read(folder, of_matrix({"index": ["docs", ["docs", "docs/rose.md"]]}, {"store": "sqlite:a.db"})).jobs
    assert [job.name for job in found] == ["index=docs", "index=docs+docs/rose.md"]
    assert [job.arguments["store"] for job in found] == [
        f"sqlite:{folder}/a-index=docs.db",
        f"sqlite:{folder}/a-index=docs+docs%2Frose.md.db",
    ]


def test_a_default_that_names_an_output_is_told_apart_too(folder: Path) -> None:
    text = of_matrix({"hidden": [True, False]}, {"index": "docs"}, defaults={"store": "sqlite:a.db"})
    assert [job.arguments["store"] for job in read(folder, text).jobs] == [
        f"sqlite:{folder}/a-hidden={value}.db" for value in ("true", "false")
    ]


def test_several_matrices_and_jobs_stand_in_one_manifest(folder: Path) -> None:
    matrices = [
        {"base": BASE | {"name": name, "store": f"sqlite:{name}.db"}, "axes": {"hidden": [True]}} for name in "ab"
    ]
    found = read(folder, of_jobs({**BASE, "name": "docs"}, matrix=matrices)).jobs
    assert [job.name for job in found] == ["docs", "a hidden=true", "b hidden=true"]
    same = [{"base": BASE | {"store": f"sqlite:{name}.db"}, "axes": {"hidden": [True]}} for name in "ab"]
    assert [job.name for job in read(folder, json.dumps({"matrix": same})).jobs] == ["hidden=true", "hidden=true (2)"]


def test_what_a_server_keeps_is_not_named_by_a_matrix(folder: Path) -> None:
    base = {"index": "docs", "store": "postgresql://ann:secret@db.example/app"}
    (told,) = mistakes(folder, of_matrix({"hidden": [True, False]}, base))
    assert "'hidden=false' writes the store postgresql://ann" in told and "secret" not in told
    found = read(folder, of_matrix({"schema": ["one", "two"]}, base)).jobs
    assert [(job.name, job.arguments["schema"]) for job in found] == [("schema=one", "one"), ("schema=two", "two")]


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (5, "is no matrix: give {base"),
        ([], "`matrix` is empty"),
        ({"base": BASE}, "a matrix has no axes"),
        ({"base": BASE, "axes": {}}, "a matrix has no axes"),
        ({"base": BASE, "axes": {"sleep": []}}, "the axis sleep has no values: give a list, as in [20, 40]"),
        ({"base": BASE, "axes": {"sleep": 1}}, "the axis sleep has no values"),
        ({"base": BASE, "axes": {"sleep": [1, 2, 1]}}, "the axis sleep has this value twice: leave one out"),
        ({"base": BASE, "axes": {"sleep": [1, 1.0]}}, "the axis sleep has this value twice: leave one out"),
        ({"base": BASE, "axes": {"store": ["sqlite:a.db"]}}, "store is in `base` too: leave it out there, or here"),
        ({"base": BASE, "axes": {"name": ["a"]}}, "`name` is no axis: jobs of a matrix are named by their values"),
        ({"base": BASE, "axes": {"slep": [1]}}, "unknown key 'slep' of index; did you mean 'sleep'?"),
        ({"base": BASE, "axes": {"sleep": ["x"]}}, "sleep: 'x' does not fit: expected a number"),
        ({"base": 5, "axes": {"sleep": [1]}}, "`base` is no mapping"),
        ({"bas": BASE, "axes": {"index": ["docs"]}}, "unknown key 'bas' of a matrix; did you mean 'base'?"),
        ({"base": {"store": "sqlite:a.db"}, "axes": {"sleep": [1, 2]}}, "the job has no command"),
        ({"base": BASE | {"exclud": 1}, "axes": {"sleep": [1, 2]}}, "unknown key 'exclud' of index"),
        ({"base": BASE, "axes": {"sleep": [*range(199)], "chunk-tokens": [*range(98)]}}, "makes 19,502 jobs"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_matrix_is_told_once(folder: Path, matrix: Any, said: str) -> None:
    (told,) = mistakes(folder, json.dumps({"matrix": matrix}))
    assert said in told


AXES = st.dictionaries(
    st.sampled_from(["sleep", "chunk-tokens", "encoding", "document-prompt"]),
    st.integers(1, 3),
    min_size=1,
)
VALUES: dict[str, list[Any]] = {
    "sleep": [0.5, 1, 2.5],
    "chunk-tokens": [16, 17, 300],
    "encoding": ["utf-8", "cp1254", "latin-1"],
    "document-prompt": ["a: ", "a/\n", "../a?#%"],
}


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(AXES)
def test_names_and_outputs_of_a_matrix_are_distinct(folder: Path, axes: dict[str, int]) -> None:
    found = read(folder, of_matrix({name: VALUES[name][:number] for name, number in axes.items()})).jobs
    assert all(job.name.isprintable() for job in found)
    assert len(found) == len({job.name for job in found}) == len({job.arguments["store"] for job in found})
    assert {Path(job.arguments["store"].partition(":")[2]).parent for job in found} == {folder / "out"}


def test_all_manifests_of_a_folder_are_read(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / ".hidden").mkdir()
    (folder / "a.yaml").write_text(of_jobs(BASE | {"name": "docs"}))
    (folder / "sub" / "b.json").write_text(of_jobs({"index": "../docs", "store": "sqlite:b.db", "name": "docs"}))
    (folder / "sub" / "c.yml").write_text("matrix: {base: {index: ../docs, store: 'sqlite:c.db'}, axes: {sleep: [1]}}")
    for name, text in {
        "other.yaml": "terms: [a, b]",
        "list.json": "[1, 2]",
        "broken.yaml": "a: [b",
        "large.yaml": f"terms: [{'a, ' * 6_000_000}",
        "empty.yml": "",
        "nested.json": '{"more": {"jobs": []}}',
        "notes.txt": "jobs: [",
        ".hidden/d.yaml": "jobs: [",
        ".e.yaml": "jobs: [",
    }.items():
        (folder / name).write_text(text)
    found = read_manifest(folder)
    assert found.path == folder
    assert [job.name for job in found.jobs] == ["a.yaml: docs", "sub/b.json: docs", "sub/c.yml: sleep=1"]
    assert [job.arguments["store"] for job in found.jobs][1] == f"sqlite:{folder}/sub/b.db"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broken.yaml", "defaults: {}\njobs: [{index: docs"),
        ("broken.yml", "matrix:\n\t- x"),
        ("broken.json", '{"defaults": {},\n "jobs": [}'),
        ("broken.json", '{"defaults": {}, "jobs": [\n'),
    ],
)
def test_a_file_that_looks_like_a_manifest_and_is_broken_is_a_mistake(folder: Path, name: str, text: str) -> None:
    (folder / "a.yaml").write_text(of_jobs(BASE))
    (folder / name).write_text(text)
    with pytest.raises(ManifestError, match=rf"{name}, line 2, column \d+: is no (YAML|JSON)"):
        read_manifest(folder)


def test_a_manifest_that_is_too_large_is_told(folder: Path) -> None:
    (folder / "a.yaml").write_text("jobs:\n" + "# \n" * 6_000_000)
    for place in (folder, folder / "a.yaml"):
        with pytest.raises(ManifestError, match=r"a\.yaml: has more than 16 MiB: divide it"):
            read_manifest(place)


def test_jobs_of_two_manifests_that_write_the_same_are_refused(folder: Path) -> None:
    (folder / "a.yaml").write_text(of_jobs(BASE | {"name": "one"}))
    (folder / "b.yaml").write_text(of_jobs(BASE | {"name": "two"}))
    with pytest.raises(ManifestError, match=r"'b.yaml: two' writes the store .*, as 'a.yaml: one' in .*a.yaml, line 1"):
        read_manifest(folder)


def test_a_folder_without_manifests_is_told(folder: Path) -> None:
    with pytest.raises(ManifestError, match="no file below this folder is a manifest"):
        read_manifest(folder)


def test_a_job_of_each_file(folder: Path) -> None:
    (folder / "docs" / "sub").mkdir()
    (folder / "docs" / "sub" / "deep.txt").write_text("A stone.")
    found = jobs_of_each(folder / "docs", "**/*.txt", "index", folder / "out", {"chunk-tokens": 20, "timeout": 3})
    assert [(job.name, job.timeout) for job in found.jobs] == [("bread.txt", 3), ("sub/deep.txt", 3)]
    assert [job.arguments for job in found.jobs] == [
        {"paths": [f"{folder}/docs/{name}"], "store": f"sqlite:{folder}/out/{name}.db", "chunk_tokens": 20}
        for name in ("bread.txt", "sub/deep.txt")
    ]
    within = jobs_of_each(folder / "docs", "**/*", "index", folder / "docs" / "sub")
    assert [job.name for job in within.jobs] == ["bread.txt", "rose.md"]


def test_hidden_files_are_jobs_only_where_the_pattern_has_their_dot(folder: Path) -> None:
    (folder / "docs" / ".drafts").mkdir()
    for name in (".stone.txt", ".drafts/oven.txt"):
        (folder / "docs" / name).write_text("A stone.")
    names = {
        pattern: [job.name for job in jobs_of_each(folder / "docs", pattern, "index", folder / "out").jobs]
        for pattern in ("**/*.txt", ".*.txt", ".drafts/*")
    }
    assert names == {"**/*.txt": ["bread.txt"], ".*.txt": [".stone.txt"], ".drafts/*": [".drafts/oven.txt"]}


@pytest.mark.parametrize(
    ("pattern", "command", "options", "said"),
    [
        ("*.pdf", "index", {}, "no file of .* matches"),
        ("", "index", {}, "--each: '' does not fit"),
        ("/x", "index", {}, "--each: '/x' does not fit"),
        ("*.txt", "ingest", {}, "ingest makes no file of a file: --each is for index and arrange"),
        ("*.txt", "indx", {}, "'indx' is no command of a batch: give one of index, ingest, arrange"),
        ("*.txt", "index", {"store": "sqlite:a.db"}, "store is not given with --each"),
        ("*.txt", "index", {"modle": "a"}, "unknown key 'modle' of index; did you mean 'model'?"),
        ("*.txt", "index", {"profile-json": "a"}, None),
        ("*", "index", {"profile-json": "a"}, "'rose.md' writes the file .*, as 'bread.txt' in"),
    ],
)
def test_what_makes_no_sense_with_each_file_is_refused(
    folder: Path, pattern: str, command: str, options: dict[str, Any], said: str | None
) -> None:
    if said is None:
        assert jobs_of_each(folder / "docs", pattern, command, "out", options).jobs
        return
    with pytest.raises(UsageError, match=said):
        jobs_of_each(folder / "docs", pattern, command, "out", options)
    with pytest.raises(UsageError, match="is no folder"):
        jobs_of_each(os.devnull, "*", "index", "out")
