"""Prompts that are given: from wherever, in every command, remembered by stores and tables."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import embedmill
import tables
from embedmill.api.read_settings import read_settings
from embedmill.api.setting_values import unescaped
from embedmill.api.settings import Settings
from embedmill.cli import app
from embedmill.models.families import known_prompts
from table_places import PostgresPlace
from tables import Within
from troubled import SMALL_MODEL

SMALL = str(SMALL_MODEL)
PROMPTED = str(SMALL_MODEL.with_name("bert-prompts"))
DOCUMENT, QUERY = "search document:  ", "question of\ta query:\n"
PROMPTS = ("--document-prompt", DOCUMENT, "--query-prompt", "question of\\ta query:\\n")
TEXTS = ["Bread is baked in an oven.", "A rose grows in the garden."]


@pytest.fixture(scope="module")
def plain() -> Iterator[embedmill.Embedder]:
    embedder = embedmill.load_embedder(SMALL, precision="f32")
    yield embedder
    embedder.close()


@pytest.fixture
def shell(tmp_path: Path) -> Within:
    (tmp_path / "docs").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "docs" / f"{number}.txt").write_text(text)
    found = tables.shell(tmp_path, "sqlite:index.db", Within)
    assert isinstance(found, Within)
    return found


def stored(path: Path) -> np.ndarray:
    """The vectors of the chunks of a store, in the order of their documents."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "SELECT v.vector FROM vectors v JOIN chunks c ON c.id = v.chunk "
            "JOIN documents d ON d.id = c.document ORDER BY d.name"
        )
        return np.stack([np.frombuffer(vector, "<f4") for (vector,) in rows])


def scores(shell: Within, query: str, *options: str) -> list[float]:
    return [hit["score"] for hit in shell.json("search", query, *options)["hits"]]


def expected(plain: embedmill.Embedder, query: str, prompt: str = QUERY) -> list[float]:
    documents = plain.embed([DOCUMENT + text for text in TEXTS])
    return sorted((documents @ plain.embed([prompt + query])[0]).tolist(), reverse=True)


def test_load_embedder_puts_them_before_each_text(plain: embedmill.Embedder) -> None:
    with embedmill.load_embedder(SMALL, precision="f32", document_prompt=DOCUMENT, query_prompt=QUERY) as embedder:
        np.testing.assert_allclose(embedder.embed(TEXTS), plain.embed([DOCUMENT + t for t in TEXTS]), atol=2e-6)
        found = embedder.embed(TEXTS, task="query")
    np.testing.assert_allclose(found, plain.embed([QUERY + t for t in TEXTS]), atol=2e-6)
    space, without = embedder.fingerprint.space, plain.fingerprint.space
    assert (space.prompt, space.query_prompt) == (DOCUMENT, QUERY)
    assert space.id != without.id


def test_they_stand_in_place_of_the_models_own() -> None:
    own = embedmill.load_embedder(PROMPTED).fingerprint.space
    assert (own.prompt, own.query_prompt) == ("search document: ", "search query: ")
    other = embedmill.load_embedder(PROMPTED, document_prompt="passage: ").fingerprint.space
    assert (other.prompt, other.query_prompt) == ("passage: ", "search query: ")


def test_another_prompt_for_queries_is_no_other_space() -> None:
    """What is stored of documents stays as it is, whatever is put before queries."""
    spaces = [embedmill.load_embedder(SMALL, query_prompt=prompt).fingerprint for prompt in (None, "query: ")]
    assert spaces[0].key == spaces[1].key
    assert spaces[0] != spaces[1]


@pytest.mark.parametrize("how", ["options", "environment", "file", "earlier"])
def test_index_and_search_from_everywhere(shell: Within, plain: embedmill.Embedder, how: str) -> None:
    given: tuple[str, ...] = ()
    query = ()
    match how:
        case "options":
            given = PROMPTS
        case "environment":
            shell.environment["EMBEDMILL_DOCUMENT_PROMPT"] = DOCUMENT
            shell.environment["EMBEDMILL_QUERY_PROMPT"] = PROMPTS[3]
        case "earlier":
            shell.environment["EMBED_PREFIX"] = DOCUMENT
            query = PROMPTS[2:]
        case "file":
            lines = f'document-prompt = "{DOCUMENT}"\nquery-prompt = "{PROMPTS[3]}"\n'
            (shell.folder / "embedmill.toml").write_text(lines)
    assert shell.json("index", "docs", *given)["embedded"] == 2
    np.testing.assert_allclose(
        stored(shell.folder / "index.db"), plain.embed([DOCUMENT + text for text in TEXTS]), atol=2e-6
    )
    np.testing.assert_allclose(scores(shell, "bread", *query), expected(plain, "bread"), atol=1e-5)


def test_the_store_remembers_them(shell: Within, plain: embedmill.Embedder) -> None:
    first = shell.json("index", "docs", *PROMPTS)
    np.testing.assert_allclose(scores(shell, "bread"), expected(plain, "bread"), atol=1e-5)
    status = shell.json("status")
    assert (status["document_prompt"], status["query_prompt"]) == (DOCUMENT, QUERY)
    assert f"{DOCUMENT!r} before documents, {QUERY!r} before queries" in shell.run("status").stdout
    again = shell.json("index", "docs")  # without being told
    assert (again["unchanged"], again["space"]) == (2, first["space"])
    (shell.folder / "docs" / "2.txt").write_text("Water in the river.")
    assert shell.json("index", "docs")["embedded"] == 1
    assert shell.json("index", "docs", "--dry-run")["unchanged"] == 3
    with closing(sqlite3.connect(shell.folder / "index.db")) as db, db:
        db.execute("INSERT INTO failures SELECT name, 0, 0, 1, 1, 'Cause', 'why', 1, 0 FROM documents LIMIT 1")
    assert shell.json("retry-failed")["space"] == first["space"]
    assert shell.json("status")["query_prompt"] == QUERY, "not forgotten by runs that were not told"


def test_another_document_prompt_is_refused_and_another_query_prompt_noted(
    shell: Within, plain: embedmill.Embedder
) -> None:
    shell.json("index", "docs", *PROMPTS)
    refused = shell.run("index", "docs", "--document-prompt", "passage: ")
    assert refused.returncode == 1
    assert (
        refused.stderr.count("\n") == 1
        and f"with {DOCUMENT!r} before each, not with 'passage: ' before each" in refused.stderr
    )
    assert "before each" in shell.run("index", "docs", "--document-prompt", "passage: ", "--dry-run").stderr
    other = shell.run("search", "bread", "--query-prompt", "query: ", "--json")
    assert other.returncode == 0
    np.testing.assert_allclose(
        scores(shell, "bread", "--query-prompt", "query: "), expected(plain, "bread", "query: "), atol=1e-5
    )
    assert shell.json("index", "docs", "--query-prompt", "query: ")["unchanged"] == 2
    np.testing.assert_allclose(scores(shell, "bread"), expected(plain, "bread", "query: "), atol=1e-5)


def test_dry_runs_and_worker_processes(shell: Within, plain: embedmill.Embedder) -> None:
    dry = shell.json("index", "docs", "--dry-run", *PROMPTS)
    assert not (shell.folder / "index.db").exists()
    done = shell.json("index", "docs", "--executor", "processes", "--workers", "1", *PROMPTS)
    assert (dry["tokens"], dry["space"]) == (done["tokens"], done["space"])
    wanted = plain.embed([DOCUMENT + text for text in TEXTS])
    np.testing.assert_allclose(stored(shell.folder / "index.db"), wanted, atol=2e-6)


def test_a_store_written_before_there_were_any(shell: Within, plain: embedmill.Embedder) -> None:
    """Its space has no field for the prompt of queries."""
    shell.json("index", "docs")
    with closing(sqlite3.connect(shell.folder / "index.db")) as db, db:
        db.execute("UPDATE meta SET value = json_remove(value, '$.query_prompt') WHERE key = 'fields'")
    assert shell.json("status")["query_prompt"] is None
    before = scores(shell, "bread")
    assert scores(shell, "bread", "--query-prompt", "query: ") != before
    assert shell.json("index", "docs", "--query-prompt", "query: ")["unchanged"] == 2
    assert shell.json("status")["query_prompt"] == "query: "
    assert shell.run("verify").returncode == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_ingest_and_retry_failed_of_a_table(
    tmp_path: Path, plain: embedmill.Embedder, kind: str, request: pytest.FixtureRequest
) -> None:
    from table_places import Place, SqlitePlace

    place: Place
    if kind == "sqlite":
        place = SqlitePlace(tmp_path / "app.db")
    else:
        place = PostgresPlace(request.getfixturevalue("shared"))
        place.clear()
    place.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT)")
    for number, text in enumerate(TEXTS):
        place.execute("INSERT INTO docs VALUES (?, ?)", number, text)
    shell = tables.shell(tmp_path, place.url, Within)
    dry = shell.json("ingest", "docs", "--create", "--dry-run", *PROMPTS)
    done = shell.json("ingest", "docs", "--create", *PROMPTS)
    assert (dry["space"], dry["embedded"]) == (done["space"], 2)
    found = place.vectors()
    np.testing.assert_allclose(found, plain.embed([DOCUMENT + text for text in TEXTS]), atol=2e-6)
    status = shell.json("status", "docs")
    assert (status["document_prompt"], status["query_prompt"]) == (DOCUMENT, QUERY)
    place.execute("INSERT INTO docs (id, text) VALUES (2, 'Water in the river.')")
    assert shell.json("ingest", "docs")["space"] == done["space"], "without being told"
    assert shell.json("retry-failed", "docs")["space"] == done["space"]
    assert shell.json("ingest", "docs", "--dry-run")["space"] == done["space"]
    for more in ((), ("--dry-run",)):
        refused = shell.run("ingest", "docs", "--document-prompt", "passage: ", *more)
        assert refused.returncode == 1 and f"with {DOCUMENT!r} before each, not with 'passage: '" in refused.stderr
    shell.json("ingest", "docs", "--query-prompt", "query: ")
    assert shell.json("status", "docs")["query_prompt"] == "query: "
    place.close()


def test_postgres_stores(tmp_path: Path, shared: str, plain: embedmill.Embedder) -> None:
    (tmp_path / "docs").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "docs" / f"{number}.txt").write_text(text)
    shell = tables.shell(tmp_path, shared, Within, EMBEDMILL_SCHEMA="prompts")
    assert isinstance(shell, Within)
    shell.json("index", "docs", *PROMPTS)
    np.testing.assert_allclose(scores(shell, "bread"), expected(plain, "bread"), atol=1e-5)
    assert shell.json("index", "docs", "--query-prompt", "query: ")["unchanged"] == 2
    np.testing.assert_allclose(scores(shell, "bread"), expected(plain, "bread", "query: "), atol=1e-5)
    assert shell.run("verify").returncode == 0


def test_the_generator(plain: embedmill.Embedder) -> None:
    texts = [f"text number {number}" for number in range(20)]
    with embedmill.ParallelEmbeddingGenerator(
        2, model=SMALL, precision="f32", document_prompt=DOCUMENT, query_prompt=QUERY
    ) as generator:
        np.testing.assert_allclose(
            generator.generate(texts), plain.embed([DOCUMENT + text for text in texts]), atol=2e-6
        )
        found = generator.generate(texts, task="query")
    np.testing.assert_allclose(found, plain.embed([QUERY + text for text in texts]), atol=2e-6)


@pytest.mark.parametrize("option", ["--document-prompt", "--query-prompt"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "expected some text"),
        ("  ", "expected some text"),
        ("\\q", "expected \\n, \\t or \\\\ where there is a backslash"),
        ("x\\", "where there is a backslash"),
        ("\udcff", "expected valid UTF-8"),
        ("word " * 5000, "nothing is left for the text"),
    ],
)
def test_a_prompt_that_does_not_fit_is_told_in_one_line(shell: Within, option: str, value: str, said: str) -> None:
    done = shell.run("index", "docs", option, value)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert not (shell.folder / "index.db").exists()


def test_prompts_that_do_not_fit_in_python() -> None:
    for name in ("document_prompt", "query_prompt"):
        for value in ("", " ", 3, b"x", "a\0b", "word " * 5000):
            with pytest.raises(embedmill.UsageError, match=name):
                embedmill.load_embedder(SMALL, **{name: value})
    with pytest.raises(embedmill.UsageError, match=r"document prompt has .* tokens, and a chunk at most 16"):
        embedmill.index(SMALL, chunk_tokens=16, model=SMALL, document_prompt="a " * 14, store="sqlite:/nowhere/x.db")


def test_escapes() -> None:
    assert unescaped(r"a\n\tb\\n ") == "a\n\tb\\n "


def test_variables_of_earlier_scripts(tmp_path: Path) -> None:
    environment = {
        "EMBED_MODEL": "a-model",
        "EMBED_BATCH_SIZE": "2048",
        "EMBED_DEVICE": "cpu",
        "EMBED_PREFIX": "passage: ",
        "EMBED_WORKERS": "2",
    }
    wanted = Settings(model="a-model", batch_size=1024, device="cpu", document_prompt="passage: ", workers=2)
    assert read_settings(environment=environment, folder=tmp_path) == wanted
    own = {"EMBEDMILL_MODEL": "other", "EMBEDMILL_BATCH_SIZE": "8", "EMBEDMILL_DOCUMENT_PROMPT": "x: "}
    found = read_settings(environment=environment | own, folder=tmp_path)
    assert (found.model, found.batch_size, found.document_prompt) == ("other", 8, "x: ")
    for name, value in {"EMBED_DEVICE": "cuda", "EMBED_BATCH_SIZE": "many", "EMBED_PREFIX": " "}.items():
        with pytest.raises(embedmill.UsageError, match=f"^{name}: {value!r} does not fit: expected"):
            read_settings(environment={name: value}, folder=tmp_path)


def test_a_family_that_needs_prompts_is_named_once(
    tmp_path: Path, shell: Within, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(SMALL_MODEL, tmp_path / "e5-small-v2")
    shell.environment["EMBEDMILL_MODEL"] = str(tmp_path / "e5-small-v2")
    said = shell.run("index", "docs").stderr
    assert said.count("warning") == 1
    assert "give --document-prompt 'passage: ' and --query-prompt 'query: '" in said
    (tmp_path / "index.db").unlink()
    given = ("--document-prompt", "passage: ", "--query-prompt", "query: ")
    assert shell.run("index", "docs", *given).stderr == ""
    assert shell.run("index", "docs").stderr == "", "the store remembers them"
    assert shell.run("search", "bread").stderr == ""


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("intfloat/e5-small-v2", ("passage: ", "query: ")),
        ("intfloat/multilingual-e5-large", ("passage: ", "query: ")),
        ("/models/multilingual-E5-base/", ("passage: ", "query: ")),
        ("intfloat/multilingual-e5-large-instruct", None),
        ("BAAI/bge-small-en-v1.5", ("", "Represent this sentence for searching relevant passages: ")),
        ("BAAI/bge-m3", None),
        ("nomic-ai/nomic-embed-text-v1.5", ("search_document: ", "search_query: ")),
        ("sentence-transformers/all-MiniLM-L6-v2", None),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", ("", "query: ")),
    ],
)
def test_known_families(name: str, wanted: tuple[str, str] | None) -> None:
    assert known_prompts(name) == wanted


def test_where_they_can_be_given() -> None:
    named = {
        name
        for name, command in app.command().commands.items()
        if any(parameter.name == "query_prompt" for parameter in command.params)
    }
    assert named == {"evaluate", "index", "ingest", "retry-failed", "search"}
