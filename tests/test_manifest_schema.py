"""The JSON schema of manifests takes what reading one takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from embedmill import ManifestError, read_manifest
from embedmill.api.settings import SETTINGS
from embedmill.api.value_schemas import schema_of
from embedmill.jobs.job_kinds import JOB_KINDS, all_options, input_of
from embedmill.jobs.job_options import spelt
from embedmill.jobs.manifest.read import _root
from embedmill.jobs.manifest.schema import manifest_schema
from manifests import fill, of_jobs, read

ROOT = Path(__file__).parents[1]
SCHEMA = manifest_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

OF_VALUES = re.compile(r"does not fit: expected|unknown key|has no use for|has no value|name: expected|has 2 commands")
"""What is said of keys and single values, which the schema knows too; not of files, or of options together."""

NARROWER = {"encoding", "workers", "ef_construction"}
"""Options whose values depend on Python, on this machine, or on another option, of which the schema knows nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("schema") / "here")


def plain(path: Path) -> Any:
    return _root(path.read_bytes(), path).plain()


def value_mistakes(folder: Path, text: str) -> list[str]:
    try:
        read(folder, text, "manifest.json")
    except ManifestError as error:
        return [line for line in error.mistakes if OF_VALUES.search(line)]
    return []


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_each_setting_has_a_schema_that_takes_what_its_option_takes() -> None:
    for name, setting in SETTINGS.items():
        schema = schema_of(setting)
        for choice in setting.choices:
            assert Draft202012Validator(schema).is_valid(setting.check(choice)), name
        assert not Draft202012Validator(schema).is_valid({}), name


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    VALIDATOR.validate(plain(path))
    assert read_manifest(path).jobs


TEXTS = st.sampled_from(
    [
        "auto",
        "f32",
        "processes",
        "hnsw",
        "none",
        "cosine",
        "64M",
        "1.5k",
        "low-memory",
        "x",
        "",
        " ",
        "utf-8",
        "3",
        "flat",
        "csv",
        "title",
    ]
)
SINGLE = st.one_of(st.none(), st.booleans(), st.integers(-1, 1100), st.floats(-1, 2e6), TEXTS)
ANY_VALUE = SINGLE | st.lists(SINGLE, max_size=2)
OPTIONS = sorted({(command, name) for command, kind in JOB_KINDS.items() for name in all_options(kind)})
SMALLEST: dict[str, dict[str, Any]] = {
    "index": {"index": "docs", "store": "sqlite:docs.db"},
    "ingest": {"ingest": "notes", "store": "sqlite:app.db"},
    "arrange": {"arrange": "terms.txt", "output": "terms.yaml"},
}


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(option=st.sampled_from(OPTIONS), value=ANY_VALUE, hyphens=st.booleans())
def test_schema_and_reading_agree_on_values(
    folder: Path, option: tuple[str, str], value: object, hyphens: bool
) -> None:
    command, name = option
    job = SMALLEST[command] | {spelt(name) if hyphens else name: value}
    if name == "index":  # of ingest; where it is none, the other options of an index are refused
        job |= {"m": 16}
    if name == "m":  # ef-construction is at least twice as much, which a schema cannot say
        job |= {"ef-construction": 1000}
    by_schema = VALIDATOR.is_valid({"jobs": [job]})
    wrong = value_mistakes(folder, of_jobs(job))
    if by_schema and name not in NARROWER:
        assert not wrong, job
    if not wrong:
        assert by_schema, job


KEYS = [*{spelt(name) for _, name in OPTIONS}, "name", "paths", "again", "json", "modle", *JOB_KINDS]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.sampled_from(sorted(JOB_KINDS)), key=st.sampled_from(sorted(KEYS)))
def test_schema_and_reading_agree_on_keys(folder: Path, command: str, key: str) -> None:
    kind = JOB_KINDS[command]
    options = all_options(kind)
    schema = options[key.replace("-", "_")].schema if key.replace("-", "_") in options else {"type": "string"}
    value = next(
        value
        for value in (True, "utf-8", "auto", "cosine", "threads", "flat", "yaml", "title", 32, 0.5)
        if Draft202012Validator(schema).is_valid(value)
    )
    job = SMALLEST[command] | ({} if key == command else {key: value})
    assert VALIDATOR.is_valid({"jobs": [job]}) == (not value_mistakes(folder, of_jobs(job))), job


JOB = {"index": "docs", "store": "sqlite:docs.db"}


@pytest.mark.parametrize(
    ("manifest", "fits"),
    [
        ({"jobs": [JOB]}, True),
        ({"jobs": [{"index": ["docs", "docs/rose.md"]}]}, True),
        ({"jobs": [{**JOB, "timeout": 3, "name": "a b"}], "defaults": {"chunk_tokens": 30, "timeout": 2.5}}, True),
        ({"jobs": [{"ingest": "notes", "store": "sqlite:app.db", "metrics_only": True}]}, True),
        ({"jobs": [{"ingest": "notes", "store": "sqlite:app.db", "metrics-only": False, "create": True}]}, True),
        ({"matrix": {"base": JOB, "axes": {"chunk-tokens": [20, 30], "exclude": [["a", "b"], "c"]}}}, True),
        ({"matrix": [{"base": {"store": "sqlite:a.db"}, "axes": {"index": ["docs", "docs/rose.md"]}}]}, True),
        ({"matrix": {"axes": {"index": ["docs"]}}, "jobs": [JOB]}, True),
        ({"jobs": [{"arrange": "terms.txt", "output": "a.csv", "skip": ["a"], "case": "title", "limit": 0}]}, True),
        ({"jobs": [{"arrange": "terms.txt", "output": "a.yaml", "threshold": 2}]}, False),
        ({"jobs": [{"arrange": ["terms.txt"], "output": "a.yaml"}]}, False),
        ({}, False),
        ([], False),
        ({"defaults": {"workers": 1}}, False),
        ({"jobs": []}, False),
        ({"jobs": {}}, False),
        ({"jobs": [JOB], "job": []}, False),
        ({"jobs": [{}]}, False),
        ({"jobs": [{"store": "sqlite:a.db"}]}, False),
        ({"jobs": [{"index": "docs", "ingest": "notes"}]}, False),
        ({"jobs": [{"index": []}]}, False),
        ({"jobs": [JOB], "defaults": {"name": "a"}}, False),
        ({"jobs": [JOB], "defaults": {"wrkers": 1}}, False),
        ({"jobs": [{"ingest": "notes", "store": "sqlite:app.db", "metrics-only": True, "workers": 1}]}, False),
        ({"matrix": {"base": JOB}}, False),
        ({"matrix": {"base": JOB, "axes": {}}}, False),
        ({"matrix": {"base": JOB, "axes": {"workers": []}}}, False),
        ({"matrix": {"base": JOB, "axes": {"workers": 2}}}, False),
        ({"matrix": {"base": JOB, "axes": {"workers": [2, 2]}}}, False),
        ({"matrix": {"base": JOB, "axes": {"name": ["a"]}}}, False),
        ({"matrix": {"base": JOB, "axes": {"workers": [2]}, "more": 1}}, False),
        ({"matrix": []}, False),
    ],
)
def test_schema_and_reading_agree_on_the_whole(folder: Path, manifest: Any, fits: bool) -> None:
    assert VALIDATOR.is_valid(manifest) == fits
    if fits:
        assert read(folder, json.dumps(manifest), "manifest.json").jobs
    else:
        with pytest.raises(ManifestError):
            read(folder, json.dumps(manifest), "manifest.json")


def test_the_input_of_each_command_is_required() -> None:
    for command, kind in JOB_KINDS.items():
        value = "a" if "anyOf" in input_of(kind).schema else "b"
        assert VALIDATOR.is_valid({"jobs": [{command: value}]})
        assert not VALIDATOR.is_valid({"jobs": [{command: 5}]})
