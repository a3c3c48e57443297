"""Each option of each kind of job: its value in a manifest, the job's own or a default, changes the result.

`CASES` has one for each; an option without one fails `test_every_option_has_a_case`.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from embedmill import PersistentCache
from embedmill.jobs.job_kinds import JOB_KINDS, options_of
from embedmill.jobs.job_options import spelt
from job_cases import LONG, Case, Outcome, Seen, do, filled, locked, on_server, read_job
from manifests import TEST_MODEL
from troubled import SMALL_MODEL

SMALL = {"model": str(SMALL_MODEL), "allow-test-model": None}
TEST = TEST_MODEL | {"cache": False}

BASES: dict[str, dict[str, Any]] = {
    "index": {"index": "docs", "store": "sqlite:docs.db", **TEST},
    "ingest": {"ingest": "items", "store": "sqlite:app.db", "create": True, **TEST},
    "ingest metrics-only": {"ingest": "items", "store": "sqlite:app.db", "metrics-only": True, "model": "test:8"},
    "arrange": {"arrange": "terms.txt", "output": "out.yaml", "model": "test:64", "threshold": -1, "cache": False},
}
KINDS = {name: JOB_KINDS[name] for name in JOB_KINDS} | {
    f"{name} {spelt(switch)}": kind for name in JOB_KINDS for switch, kind in JOB_KINDS[name].variants.items()
}
OPTIONS = sorted((kind, name) for kind in KINDS for name in options_of(KINDS[kind]))


def of_report(name: str) -> Seen:
    return lambda outcome: outcome.report and getattr(outcome.report, name)


def cached_precisions(outcome: Outcome) -> set[str]:
    """Of the vectors in the cache, which tell it on a processor too that computes both alike."""
    with PersistentCache() as cache:
        return {key.rpartition("-")[2] for key in cache.stats().fingerprints}


def of_counts(name: str) -> Seen:
    return lambda outcome: outcome.report.counts[name]


def refused(words: str) -> Seen:
    return lambda outcome: words in outcome.error


def logged(words: str) -> Seen:
    return lambda outcome: words in outcome.log


def of_file(name: str) -> Seen:
    return lambda outcome: (outcome.folder / name).exists()


def of_rows(query: str, name: str = "app.db") -> Seen:
    return lambda outcome: outcome.rows(query, name)


def of_server(query: str) -> Seen:
    return lambda outcome: outcome.ask(query)


def calls(outcome: Outcome) -> int:
    return len(outcome.progress)


def written(outcome: Outcome) -> bytes:
    return outcome.bytes()


def stage_calls(stage: str) -> Seen:
    """How often a stage of a run has worked, of its profile."""

    def calls(outcome: Outcome) -> int:
        stages = json.loads(outcome.bytes("p.json"))["stages"]
        return int(stages[stage]["calls"]) if stage in stages else 0

    return calls


def told_workers(outcome: Outcome) -> Any:
    """On a machine with one core there is one call at once in any case, and it is said where more are wanted."""
    return outcome.report.workers, "workers is 2" in outcome.log


def replaced(outcome: Outcome) -> bool:
    """Whether its one worker process had a successor."""
    return outcome.log.count(": ready after ") > 1


def rested(outcome: Outcome) -> bool:
    return bool(outcome.report.seconds >= 0.6)


OLD = str(Path(__file__).parents[1] / "examples" / "terms.txt")  # files of just now are read again in any case
PROFILE = {"profile-json": "p.json"}
PROCESSES = {"executor": "processes", "workers": 1}
ONE_BY_ONE = {"workers": 1, "batch-size": 1}


def of_all(batches: int, report: Seen) -> dict[str, Case]:
    """The cases of what terms, documents and rows are embedded with; there are so many batches of one text."""
    return {
        "executor": Case("processes", of_report("executor"), "processes", {"workers": 1}),
        "workers": Case(1, told_workers, unless=2),
        "max_load": Case(0.01, logged(" calls at once"), True),
        "sleep": Case(0.6 / (batches - 1), rested, True, ONE_BY_ONE, alone=True),
        "max_memory_mb": Case(1, logged("max_memory_mb is 1, and a worker needs"), True, PROCESSES),
        "max_documents_per_worker": Case(1, replaced, True, PROCESSES | {"batch-size": batches // 2}),
        "cache": Case(False, report, 0, before={"cache": True}, unless=True),
        "timeout": Case(9, lambda outcome: outcome.job and outcome.job.timeout, 9),
    }


def of_runs(batches: int) -> dict[str, Case]:
    """The cases of what all runs that embed share."""
    return of_all(batches, of_report("cached")) | {
        "model": Case("test:16", of_report("model"), "test:16", unless="test:8"),
        "precision": Case("bf16", of_report("precision"), "bf16", SMALL, unless="f32"),
        "device": Case("cuda", refused("device: 'cuda' does not fit"), True),
        "document_prompt": Case("a: ", of_report("space")),
        "allow_test_model": Case(True, refused("test:8 is for tests"), False),
        "preset": Case("low-memory", of_report("executor"), "processes"),
        "profile_json": Case("p.json", of_file("p.json"), True),
        "batch_size": Case(1, stage_calls("embed"), batches, {"workers": 1} | PROFILE),
    }


INDEX = of_runs(4) | {
    "cache": Case(False, of_report("cached"), 0, before={"cache": True, "store": "sqlite:first.db"}, unless=True),
    "query_prompt": Case("q: ", of_rows("SELECT value FROM meta WHERE key = 'fields'", "docs.db")),
    "store": Case("sqlite:there.db", of_file("there.db"), True),
    "schema": Case("other", of_server("SELECT 1 FROM pg_namespace WHERE nspname = 'other'"), [(1,)], on_server=True),
    "db_timeout": Case(5, refused("db-timeout is for PostgreSQL"), True),
    "chunk_tokens": Case(16, of_report("chunks")),
    "include": Case("*.md", of_report("documents"), 1),
    "exclude": Case(["*.md"], of_report("documents"), 3),
    "hidden": Case(True, of_report("documents"), 5),
    "generated": Case(True, of_report("documents"), 5),
    "max_file_size": Case("100", of_report("documents"), 3),
    "encoding": Case("cp1254", of_report("guessed"), 0),
    "dry_run": Case(True, of_file("docs.db"), False),
    "prune": Case(True, of_report("removed"), 3, {"include": "*.md"}, before={"include": None}),
    "force": Case(True, stage_calls("read"), 1, PROFILE | {"index": OLD}, before={}),
    "re_embed": Case(True, of_report("swapped"), True, {"model": "test:16"}, before={"model": "test:8"}),
}

INDEX_OF_SERVER = of_server("SELECT indexdef FROM pg_indexes WHERE tablename = 'items' AND indexdef LIKE '%hnsw%'")
HNSW = {"index": "hnsw"}
TOKENS = of_rows("SELECT tokens FROM items_metrics ORDER BY id")

OF_ROWS = ("create", "allow-test-model", "cache")
INGEST = of_runs(3) | {
    "cache": Case(
        False,
        of_report("cached"),
        0,
        {"vector": "second"},
        before={"cache": True, "vector": "first", "metrics": False},
        unless=True,
    ),
    "batch": Case(1, calls),
    "id": Case("code", of_report("last_key")),
    "text": Case("other", of_report("text"), "other"),
    "vector": Case("more", of_report("vector"), "more"),
    "create": Case(True, lambda outcome: outcome.error, ""),
    "halfvec": Case(
        True,
        of_server("SELECT atttypid::regtype::text FROM pg_attribute WHERE attname = 'embedding'"),
        [("halfvec",)],
        on_server=True,
    ),
    "overwrite": Case(True, of_report("embedded"), 3, before={}),
    "into": Case(
        "second",
        lambda outcome: outcome.report and outcome.report.swapped,
        True,
        {"model": "test:16", "swap": True, "create": None},
        before={"model": "test:8", "swap": None, "create": True},
    ),
    "swap": Case(
        True,
        lambda outcome: outcome.report and outcome.report.beside,
        "second",
        {"model": "test:16", "into": "second", "create": None},
        before={"model": "test:8", "into": None, "create": True},
    ),
    "metrics": Case(False, of_report("measured"), 0),
    "truncate": Case(False, of_report("failed"), 1),
    "max_text": Case(len(LONG) - 1, of_report("failed"), 1),
    "index": Case("hnsw", INDEX_OF_SERVER, on_server=True),
    "m": Case(8, INDEX_OF_SERVER, more=HNSW, on_server=True),
    "ef_construction": Case(90, INDEX_OF_SERVER, more=HNSW, on_server=True),
    "distance": Case("l2", INDEX_OF_SERVER, more=HNSW, on_server=True),
    "dry_run": Case(True, of_report("dry_run"), True),
    "metrics_only": Case(True, of_report("embedded"), 0, dict.fromkeys(OF_ROWS, None), dict.fromkeys(OF_ROWS, True)),
    "query_prompt": Case("q: ", of_rows("SELECT * FROM embedmill_tables")),
    "store": Case("sqlite:app.db", lambda outcome: outcome.error, ""),
    "schema": Case("other", of_server("SELECT 1 FROM pg_namespace WHERE nspname = 'other'"), [(1,)], on_server=True),
    "db_timeout": Case(0.1, refused("tried for 0.1 s"), True, unless=0.2, during=locked),
}

METRICS = {
    "batch": Case(1, calls),
    "id": Case("nothing", refused("nothing"), True),
    "text": Case("other", of_rows("SELECT characters FROM items_metrics ORDER BY id")),
    "model": Case(str(SMALL_MODEL), TOKENS),
    "document_prompt": Case("many words before it: ", TOKENS),
    "store": Case("sqlite:app.db", lambda outcome: outcome.error, ""),
    "schema": Case("other", refused("schema is for PostgreSQL"), True),
    "db_timeout": Case(0.1, refused("tried for 0.1 s"), True, unless=0.2, during=locked),
    "timeout": Case(9, lambda outcome: outcome.job and outcome.job.timeout, 9),
}

OF_TREE = {"arrange": "tree.yaml"}
ARRANGE = of_all(60, of_counts("cached")) | {
    "output": Case("out.yaml", of_file("out.yaml"), True),
    "dry_run": Case(True, of_report("dry_run"), True, {"output": None}),
    "format": Case("jsonl", written, more=OF_TREE),
    "input_format": Case("flat", written, more=OF_TREE),
    "classes": Case("classes.csv", written, more={"arrange": "hierarchy.json"}),
    "preset": Case("ultra-flat", written),
    "max_leaf": Case(60, written),
    "min_group": Case(15, written),
    "threshold": Case(0.99, written, unless=-1),
    "own_label": Case("rest", written, more={"arrange": "pairs.csv"}),
    "shape": Case(True, written, more=OF_TREE),
    "min_leaf": Case(1, written, more=OF_TREE | {"shape": True}),
    "case": Case("title", written, more=OF_TREE),
    "root": Case("plants", written, more=OF_TREE),
    "exclude_subtree": Case(["plants"], written, more=OF_TREE),
    "exclude_regex": Case("^fox", written, more=OF_TREE),
    "skip": Case("plants", written, more=OF_TREE),
    "depth": Case(1, written, more=OF_TREE),
    "flatten": Case(True, written, more=OF_TREE),
    "limit": Case(1, written, more=OF_TREE, unless=0),
    "overrides": Case("over.yaml", written, more={"arrange": "wide.yaml"}),
    "comment_template": Case("# instruction: {name}", written),
    "glosses": Case("glosses.csv", written, more={"comment-template": "{text}"}),
    "batch_size": Case(1, lambda outcome: calls(outcome) >= 60, True, {"workers": 1}),
    "model": Case("test:32", written, unless="test:64"),
    "precision": Case("bf16", cached_precisions, more=SMALL | {"cache": True}, unless="f32"),
    "document_prompt": Case("a: ", of_counts("tokens")),
}

CASES: dict[tuple[str, str], Case] = {
    (kind, name): case
    for kind, cases in {"index": INDEX, "ingest": INGEST, "ingest metrics-only": METRICS, "arrange": ARRANGE}.items()
    for name, case in cases.items()
}
BY_HAND = {("index", "profile"), ("ingest", "profile")}


def test_every_option_has_a_case() -> None:
    assert sorted({*CASES} | BY_HAND) == OPTIONS


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what manifests name; the current one is another, without settings, and the cache is empty."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("EMBEDMILL_STORE", "EMBEDMILL_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(("kind", "name"), sorted(CASES), ids=lambda part: part.replace(" ", "-"))
def test_an_option_changes_the_result(kind: str, name: str, elsewhere: Path, request: pytest.FixtureRequest) -> None:
    """The job's own value and a default make the same job, which comes to another end than one without it."""
    case, key = CASES[kind, name], spelt(name)
    found, seen = {}, {}
    for place, own in (("with", {}), ("without", {key: case.unless})):
        folder = filled(elsewhere / place)
        base = BASES[kind] | case.more | {key: None}
        if case.on_server:
            base |= {"store": table_on_server(request)}
        if case.before is not None:
            before = read_job(folder, base | case.before, case.shared)
            do(before, nullcontext())
            assert not before.error
        given = {key: case.value} if place == "with" else {}
        found[place] = read_job(folder, base | own, case.shared | given)
        if place == "with":
            assert read_job(folder, base | given, case.shared).known == found[place].known
        do(found[place], case.during(folder))
        found[place].url = base.get("store") or ""
        seen[place] = case.seen(found[place])  # before the next one adds to the cache
    if case.wanted is None:
        assert not found["with"].error and not found["without"].error
    else:
        assert seen["with"] == case.wanted, found["with"]
    if not case.alone:
        assert seen["with"] != seen["without"], found


def table_on_server(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue("server")
    url: str = server.create()
    request.addfinalizer(lambda: server.drop(url))
    on_server(url)
    return url


@pytest.mark.parametrize("kind", ["index", "ingest"])
def test_a_profile_is_shown(kind: str, elsewhere: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for place, given in (("without", {}), ("with", {"profile": True})):
        folder = filled(elsewhere / place)
        found = read_job(folder, BASES[kind], given)
        assert read_job(folder, BASES[kind] | given, {}).known == found.known
        do(found, nullcontext())
        assert ("95 %" in capfd.readouterr().err) == bool(given)
