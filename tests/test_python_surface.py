"""What Python callers meet: names that are misspelt, values that do not fit, errors and where they are found."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import embedmill
from embedmill.api import settings as config
from embedmill.api.ingest import measure
from embedmill.api.read_settings import read_settings
from embedmill.bench.ingest import bench_ingest
from embedmill.chunking.options import Chunking
from embedmill.core import errors
from embedmill.pipelines.ingest.ingestor import Ingestor
from troubled import SMALL_MODEL

ROOT = Path(__file__).parent.parent
SMALL = str(SMALL_MODEL)
NO_STORE = "sqlite:nowhere/none.db"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda **o: embedmill.index("docs", **o), "index() has no option 'modle'; did you mean 'model'?"),
        (embedmill.retry_failed, "retry_failed() has no option 'modle'; did you mean 'model'?"),
        (lambda **o: embedmill.ingest("docs", **o), "ingest() has no option 'modle'; did you mean 'model'?"),
        (lambda **o: embedmill.search("docs", **o), "search() has no option 'modle'; did you mean 'model'?"),
        (embedmill.Searcher, "Searcher() has no option 'modle'; did you mean 'model'?"),
        (lambda **o: measure("docs", **o), "measure() has no option 'modle'; did you mean 'model'?"),
        (lambda **o: bench_ingest("docs", **o), "bench_ingest() has no option 'modle'; did you mean 'model'?"),
        (lambda **o: read_settings(o), "unknown setting 'modle'; did you mean 'model'?"),
    ],
)
def test_a_misspelt_option_is_a_usage_error(call: Callable[..., Any], said: str) -> None:
    with pytest.raises(embedmill.UsageError) as caught:
        call(modle="x")
    assert str(caught.value) == said


def test_the_nearest_option_is_one_of_the_functions_own_too() -> None:
    with pytest.raises(embedmill.UsageError, match="'overwrit'; did you mean 'overwrite'"):
        embedmill.ingest("t", overwrit=True)  # type: ignore[call-arg]
    with pytest.raises(embedmill.UsageError, match=r"index\(\) has no option 'colour'$"):
        embedmill.index("docs", colour="x")  # type: ignore[call-arg]
    with pytest.raises(embedmill.UsageError, match=r"ingest\(\) has no use for chunk_tokens: leave it out"):
        embedmill.ingest("t", chunk_tokens=32)  # type: ignore[call-arg]


def test_every_setting_is_an_option_of_some_function() -> None:
    typed = set(config.FileOptions.__annotations__)
    of_the_command_line = {"log_file"}  # a library leaves it to its program where logs go
    assert typed == {field.name for field in fields(config.Settings)} - of_the_command_line


def test_an_option_may_be_given_as_the_setting_has_it() -> None:
    """A setting's name and type stand twice: as the value that is chosen, and as the argument that is given."""
    taken = get_type_hints(config.FileOptions)
    for name, kind in get_type_hints(config.Settings).items():
        if name not in taken:
            continue  # of the command line
        several = get_origin(kind) is tuple
        types = {Sequence[str]} if several else set(get_args(kind) or [kind])
        assert types | {str, type(None)} <= set(get_args(taken[name])), name


def test_type_checkers_reject_misspelt_and_wrong_options(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    good = [
        'embedmill.index("docs", model="x", workers=2, exclude=["a"], dry_run=True)',
        'embedmill.search("q", store="sqlite:x.db", model="x", k=3)',
        'embedmill.ingest("t", model="x", create=True)',
        "embedmill.retry_failed(model=None)",
        "error: type[embedmill.EmbedmillError] = embedmill.UsageError",
        'one: embedmill.EmbeddingVector = embedmill.embed("a", model="x", cache=False)',
        'many: embedmill.EmbeddingMatrix = embedmill.ModelLoader("x").encode(["a"])',
    ]
    wrong = [
        'embedmill.index("docs", modle="x")',
        'embedmill.index("docs", include=3)',
        'embedmill.search("q", modle="x")',
        'embedmill.Searcher(modle="x")',
        'embedmill.ingest("t", modle="x")',
        'embedmill.ingest("t", chunk_tokens=3)',
        "embedmill.retry_failed(modle=None)",
        'embedmill.load_embedder(threads="2")',
        'embedmill.load_embedder().embed(["a"], task="Query")',
        'several: embedmill.EmbeddingMatrix = embedmill.embed("a")',
        'alone: embedmill.EmbeddingVector = embedmill.ModelLoader().encode(["a"])',
        "embedmill.embed(3)",
        'embedmill.ModelLoader(modle="x")',
    ]
    snippet = tmp_path / "snippet.py"
    snippet.write_text("\n".join(["import embedmill", *good, *wrong]) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", str(snippet)], cwd=ROOT, capture_output=True, text=True
    )
    found = [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line]
    first = len(good) + 2
    assert sorted(set(found)) == list(range(first, first + len(wrong))), done.stdout + done.stderr


def test_the_errors_are_public() -> None:
    own = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(own) > 10
    for name in own:
        assert getattr(embedmill, name) is getattr(errors, name)
        assert name in embedmill.__all__ and name in dir(embedmill)


def test_a_plain_import_loads_nothing() -> None:
    code = "import embedmill, json, sys; print(json.dumps([name for name in sys.modules if 'embedmill' in name]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["embedmill"]


NO_NUMBERS = [0, -1, True, "2", 2.0, float("nan")]


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("threads", lambda v: embedmill.load_embedder(SMALL, threads=v)),
        ("streams", lambda v: embedmill.load_embedder(SMALL, streams=v)),
        ("workers", lambda v: embedmill.EmbedderPool(str, workers=v)),
        ("threads", lambda v: embedmill.EmbedderPool(str, threads=v)),
        ("workers", lambda v: embedmill.ParallelEmbeddingGenerator(v, model=SMALL)),
        ("batch", lambda v: embedmill.ingest("t", v)),
        ("max_text", lambda v: embedmill.ingest("t", max_text=v)),
        ("rows", lambda v: bench_ingest("t", rows=v)),
        ("batch", lambda v: bench_ingest("t", batch=v)),
        ("max_workers", lambda v: bench_ingest("t", max_workers=v)),
        ("max_tokens", Chunking),
        ("max_bytes", lambda v: embedmill.PersistentCache(max_bytes=v)),
        ("batch_size", lambda v: embedmill.IncrementalIndexer(None, None, None, batch_size=v)),  # type: ignore[arg-type]
        ("batch_size", lambda v: Ingestor(None, None, None, batch_size=v)),  # type: ignore[arg-type]
        ("batch", lambda v: Ingestor(None, None, None, batch=v)),  # type: ignore[arg-type]
        ("m", lambda v: embedmill.IndexOptions(m=v)),
        ("ef_construction", lambda v: embedmill.IndexOptions(ef_construction=v)),
        ("max_memory_mb", lambda v: embedmill.Limits(max_memory_mb=v)),
        ("dimension", embedmill.EmbeddingValidator),
    ],
)
def test_what_is_no_whole_number_is_a_usage_error(name: str, call: Callable[[Any], Any], value: object) -> None:
    with pytest.raises(embedmill.UsageError, match=rf"^{name} is {value!r}: give"):
        call(value)


@pytest.mark.parametrize("value", [None, -1, True, "2", 2.0])
def test_a_threshold_may_be_0_and_no_more(value: Any) -> None:
    with pytest.raises(embedmill.UsageError, match=f"threshold is {value!r}: give a whole number from 0 up"):
        embedmill.ParallelEmbeddingGenerator(threshold=value, model=SMALL)


@pytest.mark.parametrize("value", [*NO_NUMBERS, None])
def test_so_many_hits(value: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Bread is baked.")
    store = f"sqlite:{tmp_path / 'index.db'}"
    embedmill.index(tmp_path, store=store, model=SMALL, cache=False)
    with embedmill.Searcher(store) as searcher, pytest.raises(embedmill.UsageError, match=f"k is {value!r}: give"):
        searcher.search("bread", k=value)


@pytest.mark.parametrize("value", [0, -1, True, "x", float("nan")])
def test_settings_that_are_no_numbers(value: Any) -> None:
    for name in ("workers", "batch_size", "chunk_tokens", "max_memory_mb", "db_timeout"):
        with pytest.raises(embedmill.UsageError, match=f"--{name.replace('_', '-')}: {value!r} does not fit"):
            embedmill.index("docs", store=NO_STORE, **{name: value})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: embedmill.ingest(None), "table is None: give its name"),
        (lambda: embedmill.ingest("t", text=3), "text is 3: give a name"),
        (lambda: embedmill.ingest("t", vector=b"v"), "vector is b'v': give a name"),
        (lambda: embedmill.ingest("t", id=[3]), "id 0 is 3: give a name"),
        (lambda: embedmill.ingest("t", index="none"), "index is 'none': give embedmill.IndexOptions"),
        (lambda: embedmill.ingest("t", create="no"), "create is 'no': give True or False"),
        (lambda: embedmill.ingest("t", metrics=1), "metrics is 1: give True or False"),
        (lambda: embedmill.index("docs", dry_run="no"), "dry_run is 'no': give True or False"),
        (lambda: embedmill.index("docs", hidden="maybe"), "--hidden: 'maybe' does not fit"),
        (lambda: embedmill.index(None), "paths are to be given as text or pathlib.Path"),
        (lambda: embedmill.index([3]), "paths are to be given as text or pathlib.Path"),
        (lambda: embedmill.index([]), "no paths"),
        (lambda: embedmill.index("docs", store=3), "--store: 3 does not fit"),
        (
            lambda: embedmill.ParallelEmbeddingGenerator(2, model=SMALL, limits="x"),
            "limits is 'x': give embedmill.Limits",
        ),
        (lambda: embedmill.load_embedder(SMALL, device="cuda"), "device 'cuda' is not covered"),
        (lambda: embedmill.load_embedder(SMALL, precision="F32"), "did you mean 'f32'"),
    ],
)
def test_other_values_that_do_not_fit(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(embedmill.UsageError) as caught:
        call()
    assert said in str(caught.value)


def test_a_key_of_one_column_may_be_given_as_text(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as db:
        db.execute("CREATE TABLE t (name TEXT NOT NULL UNIQUE, text TEXT)")
        db.execute("INSERT INTO t VALUES ('a', 'Bread is baked.')")
    report = embedmill.ingest(
        "t", store=f"sqlite:{tmp_path / 'app.db'}", id="name", text="text", create=True, model=SMALL, cache=False
    )
    assert report.embedded == 1


def test_a_pool_is_given_a_function() -> None:
    with pytest.raises(embedmill.UsageError, match="factory is 'all-MiniLM-L6-v2': give a function that makes"):
        embedmill.EmbedderPool("all-MiniLM-L6-v2")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, 3, "", b"x"])
def test_a_model_is_named_by_text(value: Any) -> None:
    with pytest.raises(embedmill.UsageError, match="model is"):
        embedmill.load_embedder(value)
