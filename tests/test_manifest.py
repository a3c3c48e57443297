"""Manifests: what they say is what jobs do, and every mistake is told with its place, before anything starts."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import embedmill
from embedmill import ManifestError, MissingExtra, UsageError
from embedmill.cli import app
from embedmill.core.rows import IndexOptions
from embedmill.jobs.job_kinds import JOB_KINDS, all_options
from embedmill.jobs.job_options import spelt
from embedmill.jobs.manifest.json_nodes import read_json
from embedmill.jobs.manifest.nodes import ManifestNode
from embedmill.jobs.manifest.yaml_nodes import read_yaml
from manifests import TEST_MODEL, fill, mistakes, of_jobs, read

DOCS = {"name": "docs", "index": "docs", "store": "sqlite:docs.db"}
ROWS = {"name": "rows", "ingest": "notes", "store": "sqlite:app.db"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that manifests may lie in; the current folder is another, without settings."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in [name for name in os.environ if name.startswith(("EMBEDMILL_", "EMBED_")) and "CACHE" not in name]:
        monkeypatch.delenv(name)
    return fill(tmp_path / "here")


def test_jobs_are_as_they_are_written(folder: Path) -> None:
    found = read(
        folder,
        """
        # what is shared
        defaults: {workers: 2, batch: 7}
        jobs:
          - name: docs
            index: [docs, docs/rose.md]
            store: "sqlite:out/docs.db"
            max-file-size: 2k
            exclude: [drafts/, "*.tmp"]
            timeout: 2.5
          - {ingest: notes, store: sqlite:app.db, workers: auto, index: hnsw, ef_construction: 100, id: id}
        """,
    )
    docs, rows = found.jobs
    assert (docs.name, docs.command, docs.timeout, docs.place.line) == ("docs", "index", 2.5, 5)
    assert docs.arguments == {
        "paths": [str(folder / "docs"), str(folder / "docs/rose.md")],
        "store": f"sqlite:{folder}/out/docs.db",
        "max_file_size": "2k",
        "exclude": ["drafts/", "*.tmp"],
        "workers": 2,
    }
    assert (rows.name, rows.timeout) == ("ingest notes", None)
    assert rows.arguments == {
        "table": "notes",
        "store": f"sqlite:{folder}/app.db",
        "workers": "auto",
        "batch": 7,
        "id": ["id"],
        "index": IndexOptions(method="hnsw", ef_construction=100),
    }


def test_jobs_do_what_their_commands_do(folder: Path) -> None:
    text = of_jobs({**DOCS, "exclude": "*.txt"}, {**ROWS, "create": True}, defaults=TEST_MODEL | {"cache": False})
    docs, rows = read(folder, text).jobs
    progress: list[Any] = []
    report = docs.bound()(on_progress=progress.append)
    assert (report.documents, report.model) == (1, "test:8") and progress
    assert rows.bound()().embedded == 2
    (metrics,) = read(folder, of_jobs({**ROWS, "metrics-only": True})).jobs
    assert metrics.bound()().embedded == 0


def test_jobs_may_go_to_another_process(folder: Path) -> None:
    found = read(folder, of_jobs({**ROWS, "index": "hnsw", "m": 8}, DOCS))
    assert pickle.loads(pickle.dumps(found)) == found


def test_options_are_those_of_the_command_line() -> None:
    """Also those that come from the signature of a function and stand on the command line once more."""
    commands = app.command().commands
    for name, kind in JOB_KINDS.items():
        of_command = {
            max(parameter.opts, key=len).lstrip("-") if parameter.param_type_name == "option" else parameter.name
            for parameter in commands[name].params
        } - {"json", "quiet", "verbose", "log-file", kind.input}
        assert {*map(spelt, all_options(kind))} - {"timeout"} == of_command


def test_hyphens_and_underscores_mean_the_same(folder: Path) -> None:
    same = [read(folder, of_jobs({**DOCS, key: 20})).jobs[0].arguments for key in ("chunk-tokens", "chunk_tokens")]
    assert same[0] == same[1] and same[0]["chunk_tokens"] == 20
    assert mistakes(folder, '{"jobs": [{"index": "docs", "chunk-tokens": 20, "chunk_tokens": 20}]}') == [
        "manifest.yaml, line 1, column 49: the key 'chunk_tokens' stands there twice, as 'chunk-tokens' and "
        "'chunk_tokens', first in line 1: leave one of them out"
    ]


def test_defaults_reach_the_jobs_that_take_them_and_a_jobs_own_value_wins(folder: Path) -> None:
    text = of_jobs(
        DOCS, {**ROWS, "workers": 1}, defaults={"workers": 2, "chunk-tokens": 30, "create": True, "timeout": 9}
    )
    docs, rows = read(folder, text).jobs
    assert (docs.arguments["workers"], docs.arguments["chunk_tokens"], docs.timeout) == (2, 30, 9)
    assert (rows.arguments["workers"], rows.arguments["create"], rows.timeout) == (1, True, 9)
    assert "create" not in docs.arguments and "chunk_tokens" not in rows.arguments
    (metrics,) = read(folder, of_jobs({**ROWS, "metrics-only": True}, DOCS, defaults={"workers": 2})).jobs[:1]
    assert "workers" not in metrics.arguments


def test_what_a_manifest_leaves_out_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_STORE", f"sqlite:{folder}/shared.db")
    assert "shared.db, as 'index docs' in line 1 does" in mistakes(
        folder, of_jobs({"index": "docs"}, {"index": "docs/rose.md"})
    )[0]  # fmt: skip


def test_variables_in_values_are_not_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "docs")
    assert "$WHERE is not there" in mistakes(folder, of_jobs({"index": "$WHERE"}))[0]
    (job,) = read(folder, of_jobs({**DOCS, "store": "sqlite:${WHERE}.db"})).jobs
    assert job.arguments["store"] == f"sqlite:{folder}/${{WHERE}}.db"


@pytest.mark.parametrize(
    ("more", "where", "said"),
    [
        ("modle: a", "key", "unknown key 'modle' of index; did you mean 'model'?"),
        ("zebra: a", "key", "unknown key 'zebra' of index: leave it out"),
        ("batch: 3", "key", "index has no use for batch: leave it out"),
        ("precision: f16", "value", "precision: 'f16' does not fit: expected auto or f32 or bf16"),
        ("workers: 0", "value", "workers: 0 does not fit: expected a whole number from 1 to"),
        ("workers: 1.5", "value", "workers: 1.5 does not fit: expected a whole number or auto"),
        ("workers: '2'", "value", "workers: '2' does not fit: expected a whole number"),
        ("cache: no", "value", "cache: 'no' does not fit: expected true or false"),
        ("model: 5", "value", "model: 5 does not fit: expected some text; put it into quotes"),
        ("model: ./none", "value", "none is no folder: give the folder of a model, or a model's name"),
        ("model:", "key", "model has no value: give one, or leave it out"),
        ("max-file-size: lots", "value", "expected bytes, as in 1048576, 200M or 2G"),
        ("include: [a, 3]", "value", "include: ['a', 3] does not fit: expected some text or a list of texts"),
        ("include: []", "value", "expected some text or a list of texts"),
        ("timeout: 0", "value", "timeout: 0 does not fit: expected seconds"),
        ("timeout: .inf", "value", ".inf is no number as JSON has them"),
        ("model: !!python/object:os.system x", "value", "the tag !!python/object:os.system is not taken"),
        ("name: ''", "value", "name: expected some text in one line"),
        ("name: [a]", "value", "name: expected some text in one line"),
        ("schema: s", "key", "schema is for PostgreSQL, not for an SQLite file"),
        ("db-timeout: 3", "key", "db-timeout is for PostgreSQL"),
        (
            "max-memory-mb: 300",
            "key",
            "max-memory-mb is for worker processes, not for threads: give executor processes",
        ),
        ("dry-run: true\n      prune: true", "key", "dry-run does not look for what prune would take out"),
        ("model: test:8", "key", "test:8 is for tests, its vectors mean nothing: give allow-test-model"),
        ("exclude: /", "job", "pattern '/' names nothing"),
        ("index: a", "key", "the key 'index' stands there twice, first in line 3: leave one of them out"),
        ("ingest: b", "input", "index: 'docs' does not fit: expected auto or hnsw or none"),
        ("<<: {a: b}", "key", "merge keys (<<) are not taken: write what is shared under `defaults`"),
        ("? [a]\n      : b", "complex key", "a key is a list or a mapping: give the name of an option"),
    ],
)
def test_a_mistake_in_a_job_is_told_with_its_place(folder: Path, more: str, where: str, said: str) -> None:
    told = mistakes(folder, f"jobs:\n  -   store: sqlite:docs.db\n      index: docs\n      {more}\n")
    places = {
        "job": (2, 7),
        "input": (3, 14),
        "key": (4, 7),
        "value": (4, more.find(":") + 9),
        "complex key": (4, 9),
    }
    line, column = places[where]
    assert len(told) == 1 and said in told[0], told
    assert told[0].startswith(f"manifest.yaml, line {line}, column {column}: "), told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "manifest.yaml: is empty: give it `jobs` or `matrix`"),
        ("# nothing\n", "is empty"),
        ("[]", "line 1, column 1: is no manifest: give a mapping"),
        ("jobs", "is no manifest: give a mapping"),
        ("{}", "has no jobs: give it `jobs` or `matrix`"),
        ("defaults: {workers: 1}", "has no jobs"),
        ("jobs: []", "`jobs` is empty: add a job, or leave it out"),
        ("jobs: {a: b}", "`jobs` is no list: begin each job with a hyphen"),
        ("jobs: [5]", "is no job: give a mapping"),
        ("jobs: [{}]", "the job has no command: give index or ingest or arrange"),
        ("jobs: [{indx: docs}]", "give index or ingest or arrange, as in {index: docs}; did you mean 'index'?"),
        ("job: [{index: docs}]", "unknown key 'job'; did you mean 'jobs'?"),
        ("jobs: [{index: docs}]\njobs: []", "line 2, column 1: the key 'jobs' stands there twice, first in line 1"),
        ("jobs: [{index: docs}]\ndefaults: 5", "`defaults` is no mapping"),
        ("jobs: [{index: docs}]\ndefaults: {name: docs}", "unknown default 'name': a default is"),
        ("jobs: [{index: docs}]\ndefaults: {batch: 3}", "no job takes the default 'batch'"),
        ("jobs: [{index: docs}]\ndefaults: {modell: a}", "unknown default 'modell'; did you mean 'model'?"),
        ("jobs: [{index: docs}]\ndefaults: {workers: 0}", "line 2, column 21: workers: 0 does not fit"),
        ("jobs: [{index: docs", "line 1, column 20: is no YAML: it ends too early"),
        ("jobs:\n\t- {index: docs}", "line 2, column 1: is no YAML: a tab cannot begin a value"),
        ("jobs: [{index: *none}]", "is no YAML: found undefined alias 'none'"),
        ("jobs: &a [*a]", "is nested more than 20 deep"),
        ("jobs: []\n---\njobs: []", "but found another document"),
        ("jobs: ['\x07']", "line 1, column 9: is no YAML: unacceptable character #x0007"),
        ("[" * 100 + "]" * 100, "is nested"),
        ("[" * 20_000, "is nested too deep"),
        ("jobs: [{index: docs, workers: 1" + "0" * 5000 + "}]", "too large a number"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_manifest_is_told(folder: Path, text: str, said: str) -> None:
    told = mistakes(folder, text)
    assert len(told) == 1 and said in told[0], told


def test_aliases_that_grow_without_end_are_refused(folder: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases that grow" in mistakes(folder, "\n".join(lines))[0]


def test_an_alias_is_what_it_stands_for(folder: Path) -> None:
    text = "jobs: [{index: &where docs, store: 'sqlite:a.db'}, {index: *where, store: 'sqlite:b.db'}]"
    assert [job.arguments["paths"] for job in read(folder, text).jobs] == [[str(folder / "docs")]] * 2
    twice = "jobs: [{index: &a docs, store: &a 'sqlite:a.db'}, {index: docs/rose.md, store: 'sqlite:b.db', name: *a}]"
    assert read(folder, twice).jobs[1].name == "sqlite:a.db"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ('{"jobs": [{"index": "docs"}', "line 1, column 28: is no JSON: it ends where ',' or ']' is expected"),
        ('{"jobs":\n [{"index" "docs"}]}', "line 2, column 12: is no JSON: ':' is expected, and '\"' stands there"),
        ('{"jobs": [1,]}', "line 1, column 13: is no JSON: a value is expected, and ']' stands there"),
        ("{'jobs': []}", "a key in double quotes is expected"),
        ('{"jobs": []} x', "something follows after its end"),
        ('{"jobs": [{"index": "a\nb"}]}', "is no JSON: invalid control character"),
        ('{"jobs": [{"index": "\\ud800"}]}', "half of a character"),
        ('{"jobs": [5], "defaults": {}, "defaults": {}}', "is no job"),
        ('{"jobs": [NaN]}', "a value is expected"),
        ('{"jobs": [1e999]}', "too large a number"),
        ("[" * 20_000, "is nested more than 20 deep"),
    ],
)  # fmt: skip
def test_json_that_is_none_is_told(folder: Path, text: str, said: str) -> None:
    told = mistakes(folder, text, "manifest.json")
    assert said in told[0], told


def test_a_file_that_cannot_be_read_is_told(folder: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.yaml: is not there: give a manifest"):
        embedmill.read_manifest(folder / "none.yaml")
    with pytest.raises(ManifestError, match=r"x\.yaml: cannot be read \(Not a directory\): let it be read"):
        embedmill.read_manifest(folder / "app.db" / "x.yaml")
    (folder / "latin.yaml").write_bytes(b"jobs:\n  - {name: caf\xe9}")
    with pytest.raises(ManifestError, match=r"line 2, column 15: is not UTF-8"):
        embedmill.read_manifest(folder / "latin.yaml")


def test_every_mistake_is_listed(folder: Path) -> None:
    text = """
        defaults: {workers: 0, zebra: 1}
        jobs:
          - {name: a, index: none, stor: x, precision: f16}
          - {name: a, index: [docs, gone], store: "sqlite:a.db", exclude: 3}
          - {ingst: x}
        """
    assert [line.split(": ", 1)[1].split(";")[0][:40] for line in mistakes(folder, text)] == [
        "workers: 0 does not fit: expected a whol",
        "unknown default 'zebra': leave it out",
        "none is not there: correct the path, whi",
        "unknown key 'stor' of index",
        "precision: 'f16' does not fit: expected ",
        "the name 'a' is that of the job in line ",
        "gone is not there: correct the path, whi",
        "exclude: 3 does not fit: expected some t",
        "the job has no command: give index or in",
    ]
    with pytest.raises(UsageError, match=r"workers: 0 does not fit.* \(and 8 more\)$"):
        embedmill.read_manifest(folder / "manifest.yaml")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (DOCS, {**DOCS, "store": "sqlite:b.db"}, "the name 'docs' is that of the job in line 1: give another"),
        (DOCS, {**DOCS, "name": "b"}, "'b' writes the store sqlite:docs.db, as 'docs' in line 1 does: give it another"),
        (DOCS, {**DOCS, "name": "b", "store": "sqlite:./x/../docs.db"}, "as 'docs' in line 1 does"),
        (ROWS, {**ROWS, "name": "b"}, "'b' writes the column for the vectors of the table notes in sqlite:app.db"),
        (ROWS, {**ROWS, "name": "b", "vector": "v"}, ""),
        (DOCS, {**DOCS, "name": "b", "dry-run": True}, ""),
        (
            {**DOCS, "profile-json": "p.json"},
            {**ROWS, "profile-json": "p.json"},
            "'rows' writes the file p.json, as 'docs' in line 1 does: give it another file",
        ),
        (
            {**ROWS, "metrics-only": True},
            {**ROWS, "name": "b", "metrics-only": True},
            "'b' writes the metrics of the table notes in sqlite:app.db",
        ),
    ],
)
def test_jobs_that_write_the_same_are_refused(
    folder: Path, first: dict[str, Any], second: dict[str, Any], said: str
) -> None:
    text = of_jobs(first, second)
    if not said:
        assert len(read(folder, text).jobs) == 2
    else:
        (told,) = mistakes(folder, text)
        assert said in told


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"workers": 1}, "ingest with metrics-only has no use for workers: leave one of them out"),
        ({"metrics": True}, "ingest with metrics-only has no use for metrics: leave one of them out"),
        ({"store": "sqlite:none.db"}, "there is no database none.db: correct the path"),
        ({"batch": 0}, "batch: 0 does not fit: expected a whole number from 1"),
    ],
)
def test_metrics_alone_are_a_kind_of_their_own(folder: Path, more: dict[str, Any], said: str) -> None:
    (told,) = mistakes(folder, of_jobs({**ROWS, "metrics-only": True, **more}))
    assert said in told


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"halfvec": True}, "halfvec is for the column that create adds: give both"),
        ({"into": "b"}, "into names the column that is filled"),
        ({"m": 1}, "m: 1 does not fit: expected a whole number from 2 to 100"),
        ({"index": "none", "m": 20}, "index none builds no index: leave m, ef-construction and distance out"),
        ({"distance": "far"}, "distance: 'far' does not fit: expected cosine or l2 or inner-product"),
        ({"again": True}, "unknown key 'again' of ingest"),
        ({"paths": "docs"}, "unknown key 'paths' of ingest"),
        ({"index": "docs"}, "index: 'docs' does not fit: expected auto or hnsw or none"),
    ],
)
def test_what_ingest_refuses_is_refused(folder: Path, more: dict[str, Any], said: str) -> None:
    (told,) = mistakes(folder, of_jobs({**ROWS, **more}))
    assert said in told


def test_passwords_are_never_shown(folder: Path) -> None:
    url = "postgresql://ann:secret@db.example/app"
    found = read(folder, of_jobs({"index": "docs", "store": url}, {"ingest": "t", "store": url}))
    assert found.jobs[0].arguments["store"] == url
    assert "secret" not in repr(found) + str([job.name for job in found.jobs])
    for jobs in (
        [{"index": "docs", "store": url}, {"index": "docs", "store": url}],
        [{"index": url}],
        [{"index": "docs", "store": [url]}],
        [{"index": "docs", "store": url.replace("postgresql", "nosql")}],
        [{"index": "docs", url: 1}],
        [{"name": url, "index": "docs"}, {"name": url, "index": "docs"}],
    ):
        assert "secret" not in str(mistakes(folder, of_jobs(*jobs)))


def test_paths_are_relative_to_the_manifest(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "model").mkdir()
    (folder / "link").symlink_to(folder / "docs")
    job = {"index": ["../docs", f"{folder}/docs", "../link/../docs"], "store": "sqlite:../a.db", "model": "../model"}
    (found,) = read(folder / "sub", of_jobs({**job, "profile-json": "p.json"})).jobs
    assert found.arguments == {
        "paths": [f"{folder}/docs", f"{folder}/docs", f"{folder}/docs"],
        "store": f"sqlite:{folder}/a.db",
        "model": f"{folder}/model",
        "profile_json": f"{folder}/sub/p.json",
    }


def test_what_is_gone_may_be_pruned(folder: Path) -> None:
    assert read(folder, of_jobs({**DOCS, "index": ["docs", "gone"], "prune": True})).jobs
    assert "gone is not there" in mistakes(folder, of_jobs({**DOCS, "index": ["docs", "gone"]}))[0]


def test_names_that_are_made_are_told_apart(folder: Path) -> None:
    jobs = [{"index": "docs", "store": f"sqlite:{name}.db"} for name in "abc"]
    found = read(folder, of_jobs(*jobs, {"name": "index docs (2)", **ROWS, "ingest": "notes"} | {"name": "index docs"}))
    assert [job.name for job in found.jobs] == ["index docs (2)", "index docs (3)", "index docs (4)", "index docs"]


def plain(node: ManifestNode | None) -> object:
    assert node is not None
    return node.plain()


TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@given(VALUES, st.sampled_from([None, 0, 1, "\t"]), st.booleans())
def test_json_is_read_as_python_reads_it(value: object, indent: int | str | None, escaped: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    assert plain(read_json(text, "f")) == json.loads(text)


WHOLE = """\
# a comment
defaults: {workers: 1, chunk-tokens: &tokens 20}
jobs:
  - name: "docs"
    index: [docs, 'docs/rose.md']
    store: sqlite:a.db
  - {ingest: notes, store: sqlite:app.db, create: true, m: 8}
matrix:
  base: {index: docs, store: "sqlite:b.db"}
  axes: {sleep: [0.5, 1], exclude: [[a, b], "c"]}
"""
SIGNS = st.sampled_from(
    [*"{}[]:,-#&*!|>'\"%@`?~ \n\t", "\u00e9", "\0", "- ", ": ", "&a ", "*tokens", "<<: ", "!!int ", "---\n"]
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(WHOLE)), st.integers(0, 3), st.lists(SIGNS, max_size=4).map("".join))
def test_a_damaged_manifest_is_valid_or_told(folder: Path, at: int, gone: int, more: str) -> None:
    for name, text in (("m.yaml", WHOLE), ("m.json", json.dumps(plain(read_yaml(WHOLE, "f")), indent=1))):
        damaged = text[:at] + more + text[at + gone :]
        try:
            assert read(folder, damaged, name).jobs
        except ManifestError as error:
            assert error.mistakes and all(name in line and line.isprintable() for line in error.mistakes)


@pytest.mark.parametrize("name", ["m.yaml", "m.json"])
def test_a_cut_manifest_is_no_crash(folder: Path, name: str) -> None:
    """YAML may be cut where it still is YAML; JSON never."""
    whole = WHOLE if name == "m.yaml" else json.dumps(plain(read_yaml(WHOLE, "f")))
    for at in range(len(whole)):
        (folder / name).write_text(whole[:at])
        try:
            assert embedmill.read_manifest(folder / name).jobs and name == "m.yaml"
        except ManifestError as error:
            assert error.mistakes and name in str(error)


def test_yaml_needs_a_package_and_json_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)  # as an import that fails
    assert read(folder, of_jobs(DOCS), "manifest.json").jobs
    with pytest.raises(MissingExtra, match=r"^a manifest in YAML needs an optional package: pip install"):
        read(folder, of_jobs(DOCS))


def test_what_one_job_writes_no_other_reads_or_writes(folder: Path) -> None:
    (folder / "link.yaml").symlink_to("out.yaml")
    tree = {"arrange": "terms.txt"}
    (told,) = mistakes(folder, of_jobs(tree | {"output": "out.yaml"}, tree | {"output": "link.yaml"}))
    assert "writes the file link.yaml, as 'arrange terms.txt' in line 1 does: give it another file" in told
    reads = {"arrange": "docs/rose.md", "output": "b.yaml"}
    (told,) = mistakes(folder, of_jobs(tree | {"output": "docs/rose.md", "format": "yaml"}, reads))
    assert "reads docs/rose.md, which 'arrange terms.txt' in line 1 writes: jobs run side by side" in told
    (told,) = mistakes(folder, of_jobs(tree | {"output": "manifest.yaml"}))
    assert "writes the manifest itself: give it another file" in told


def test_what_is_no_manifest_in_a_folder_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "manifest.yaml").write_text(of_jobs({"index": "docs", "store": "sqlite:a.db", **TEST_MODEL}))
    (folder / "broken.yaml").write_text("broken: [")
    assert len(embedmill.read_manifest(folder).jobs) == 1
    assert "left out, since they have neither `jobs` nor `matrix`: broken.yaml" in caplog.text
