"""What `embedmill report` counts and measures, against plain definitions; and the command."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tables
from cli_runs import Shell
from embedmill.core.documents import StoredChunk
from embedmill.core.errors import StoreError
from embedmill.core.interfaces.store import Store
from embedmill.report import sample as sampling
from embedmill.report.contents import read_contents
from embedmill.report.folders import by_folder, common_folder
from embedmill.report.geometry import nearest_neighbours, spread
from embedmill.report.sample import Sample
from embedmill.storage.registry import open_store
from store_samples import DIMENSION, failure, fingerprint, replacement, vector

PATHS = st.lists(st.sampled_from(["a", "b", "c", "long name"]), max_size=4).map("/".join)
DOCUMENTS = st.dictionaries(PATHS.map(lambda path: f"/{path}/file") | st.just("no path"), st.integers(1, 50))


@given(DOCUMENTS, st.integers(1, 8))
def test_each_document_is_in_one_folder(documents: dict[str, int], most: int) -> None:
    found = by_folder(documents, most)
    assert len(found) <= most and len({each.path for each in found}) == len(found)
    assert Counter(name for each in found for name in each.members) == Counter(documents.keys())
    for each in found:
        assert each.documents == len(each.members) > 0
        assert each.chunks == sum(documents[name] for name in each.members)
        assert all(name.startswith(each.path) for name in each.members)
    assert [each.chunks for each in found] == sorted((each.chunks for each in found), reverse=True)


def test_the_largest_folders_are_opened_as_far_as_there_is_room() -> None:
    documents = {f"/r/src/{name}/{file}.py": 10 for name in "abcdef" for file in range(3)} | {
        "/r/docs/a.md": 5,
        "/r/x": 1,
    }
    assert common_folder(list(documents)) == "/r/"
    few = {each.path: each.chunks for each in by_folder(documents, 4)}
    assert few == {"/r/src/a/": 30, "/r/src/": 150, "/r/docs/": 5, "/r/": 1}
    many = {each.path: each.chunks for each in by_folder(documents)}
    assert many == {f"/r/src/{name}/": 30 for name in "abcdef"} | {"/r/docs/": 5, "/r/": 1}
    assert by_folder({}) == []


@pytest.mark.parametrize(("rows", "dimension"), [(2, 3), (40, 8), (700, 5), (3, 2000), (30, 1500)])
def test_neighbours_and_components_are_as_defined(rows: int, dimension: int) -> None:
    random = np.random.default_rng(rows)
    vectors = (random.standard_normal((rows, dimension)) * random.uniform(0.5, 2, dimension) + 0.3).astype(np.float32)
    asked = np.sort(random.choice(rows, max(rows // 2, 1), replace=False))
    found = nearest_neighbours(vectors, asked)
    units = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -2)
    np.testing.assert_allclose(found.cosines, cosines[asked].max(axis=1), atol=1e-5)
    np.testing.assert_allclose(cosines[asked, found.nearest], found.cosines, atol=1e-5)
    of_all = spread(vectors)
    middle = vectors - vectors.mean(axis=0, dtype=float)
    _, singular, directions = np.linalg.svd(middle, full_matrices=False)
    shares = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(of_all.shares[: len(shares) - 1], shares[:-1], atol=1e-5)
    np.testing.assert_allclose(np.abs(of_all.points), np.abs(middle @ directions[:2].T), atol=2e-3)
    needed = int((np.cumsum(shares) < 0.9).sum() + 1)
    assert abs(of_all.components_for(0.9) - needed) <= 1


def test_vectors_that_are_all_the_same_spread_nowhere() -> None:
    found = spread(np.ones((5, 4), np.float32))
    assert not found.shares.any() and not found.points.any() and found.components_for(0.9) == 0
    alone = spread(np.ones((1, 1), np.float32))
    assert alone.points.shape == (1, 2)


def test_each_chunk_is_as_likely_in_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SAMPLE", 1000)
    taken = Sample(DIMENSION)
    for number in range(10_000):
        row = np.full(DIMENSION, number, np.float32)
        taken.offer(StoredChunk(str(number), 0, "x" * 500, row, "f32"))
    assert (len(taken.chunks), taken.offered, taken.vectors.shape) == (1000, 10_000, (1000, DIMENSION))
    assert [float(chunk.document) for chunk in taken.chunks] == taken.vectors[:, 0].tolist()
    assert len({chunk.document for chunk in taken.chunks}) == 1000
    assert {len(chunk.text) for chunk in taken.chunks} == {sampling.SHOWN}
    thirds = Counter(int(chunk.document) // 3334 for chunk in taken.chunks)
    assert all(250 < number < 420 for number in thirds.values())


@pytest.fixture
def store(place: dict[str, str]) -> Store:
    opened = open_store(**place)  # type: ignore[arg-type]
    opened.bind(fingerprint(), "model")
    return opened


def test_what_a_store_holds_is_counted(store: Store) -> None:
    with closing(store):
        store.replace([replacement(f"/docs/{name}/x.md", ["same", f"text {name}"]) for name in "abc"])
        store.fail("/docs/d", [failure("/docs/d", -1)])
        facts = read_contents(store).to_dict()
    assert (facts["documents"], facts["chunks"], facts["failures"], facts["model"]) == (3, 6, 1, "model")
    assert facts["folders"] == [{"path": f"/docs/{name}/", "documents": 1, "chunks": 2} for name in "abc"]
    assert facts["tokens"] == dict.fromkeys(("min", "p5", "median", "mean", "p95", "max"), 7)
    assert facts["quality"]["vectors"] == facts["sampled"] == 6
    assert facts["quality"]["exact_duplicates"] == pytest.approx(2 / 6)
    assert facts["nearest_cosines"]["max"] == pytest.approx(1, abs=1e-5)


def test_an_empty_store_has_nothing_to_measure(store: Store) -> None:
    with closing(store):
        facts = read_contents(store).to_dict()
    assert (facts["folders"], facts["tokens"], facts["quality"]) == ([], None, None)


def test_duplicates_are_listed() -> None:
    with closing(open_store("memory:duplicates")) as store:
        store.bind(fingerprint(), "model")
        near = vector("one") + np.float32(0.01)
        documents = [replacement("/a", ["one", "two", "one"]), replacement("/b", ["one", "nearly one"])]
        documents[1].records[1].vector[:] = near / np.linalg.norm(near)
        store.replace(documents)
        measured = read_contents(store).measured
    assert measured is not None
    (exact,) = measured.exact
    assert (exact.count, exact.chunks[0].text) == (3, "one")
    assert [sorted(chunk.text for chunk in each.chunks) for each in measured.near] == [["nearly one", "one"]]


def damaged(shell: Shell, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(shell.folder / "index.db")) as db, db:
        db.execute(statement, values)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = tables.shell(tmp_path, "sqlite:index.db", tables.Within)
    (tmp_path / "docs").mkdir()
    for name in ("bread", "water"):
        (tmp_path / "docs" / f"{name}.txt").write_text(f"There is {name}\n\x1b[31m here.")
    assert shell.run("index", "docs").returncode == 0
    return shell


def test_the_command_tells_people_and_programs(shell: Shell) -> None:
    told = shell.run("report")
    assert (told.returncode, told.stderr) == (0, "")
    for words in ("documents   2\n", "exact 0.0%", "32, effective ", " index: finished, 2 chunks in "):
        assert words in told.stdout
    facts = shell.json("report")
    assert (facts["documents"], facts["store"], facts["quality"]["vectors"]) == (2, "sqlite:index.db", 2)
    (run,) = facts["runs"]
    assert (run["command"], run["outcome"], run["report"]["embedded"]) == ("index", "finished", 2)


def test_the_page_is_written(shell: Shell) -> None:
    told = shell.run("report", "--html", "page.html")
    assert told.returncode == 0 and told.stderr.startswith("written: page.html (")
    facts = shell.json("report", "--html", "page.html")
    page = (shell.folder / "page.html").read_bytes()
    assert (facts["html"], facts["html_bytes"]) == ("page.html", len(page))
    assert facts["bytes"] == shell.json("report")["bytes"], "the store's"
    assert page.startswith(b"<!DOCTYPE html>") and b"There is bread" in page
    assert shell.run("report", "--html", "new/deeper/page.html").returncode == 0
    assert (shell.folder / "new/deeper/page.html").is_file(), "in folders that were missing"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--html", "docs/bread.txt/a/page.html"], 2, "docs/bread.txt is no folder: give another file"),
        (["--html", "docs"], 2, "--html: docs cannot be written: it is a folder: give another file"),
        (["--html", ""], 2, "--html: '' is no file: give the name of one"),
        (["--html", "-"], 2, "--html: '-' is no file: give the name of one"),
        (["--store", "sqlite:none.db"], 1, "none.db"),
        (["docs"], 2, "unexpected extra argument"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(shell: Shell, options: list[str], code: int, said: str) -> None:
    done = shell.run("report", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert said in done.stderr


def test_without_the_library_the_page_alone_is_missing(shell: Shell) -> None:
    """Where the extra is not installed."""
    (shell.folder / "without").mkdir()
    (shell.folder / "without" / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'bokeh' else find(name, package)\n"
    )
    path = f"{shell.folder / 'without'}:{shell.environment['PYTHONPATH']}"
    without = Shell(shell.folder, **shell.environment | {"PYTHONPATH": path})
    done = without.run("report", "--html", "page.html")
    said = "error: a page with plots needs an optional package: pip install 'embedmill[report]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert without.run("report").returncode == 0


@pytest.mark.parametrize("damage", ["shorter", "infinite", "odd"])
def test_a_damaged_vector_ends_it_in_one_line(shell: Shell, damage: str) -> None:
    blob = {
        "shorter": np.ones(7, "<f4").tobytes(),
        "infinite": np.full(32, np.inf, "<f4").tobytes(),
        "odd": b"\0" * 13,
    }[damage]
    damaged(shell, "UPDATE vectors SET vector = ? WHERE chunk = 1", blob)
    done = shell.run("report")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "is damaged (" in done.stderr


def test_a_vector_that_is_not_sound_is_a_store_error(tmp_path: Path) -> None:
    with closing(open_store("memory:unsound")) as store:
        store.bind(fingerprint(), "model")
        broken = replacement("/a", ["one"])
        broken.records[0].vector[:] = np.nan
        store.replace([broken])
        with pytest.raises(StoreError, match=r"memory:unsound is damaged .*: `embedmill verify` names all that is"):
            read_contents(store)


def test_runs_over_tables_are_told_where_there_is_no_store(tmp_path: Path) -> None:
    shell = tables.shell(tmp_path, "sqlite:app.db", tables.Within)
    with closing(sqlite3.connect(tmp_path / "app.db")) as db, db:
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        db.execute("INSERT INTO notes (text) VALUES ('Bread is baked.')")
    assert shell.run("ingest", "notes", "--create").returncode == 0
    told = shell.run("report", "--html", "page.html")
    assert told.returncode == 0 and "ingest notes: finished, 1 row in " in told.stdout
    facts = shell.json("report")
    assert set(facts) == {"store", "runs"} and facts["runs"][0]["table"] == "notes"


def test_json_is_of_plain_numbers(shell: Shell) -> None:
    text = shell.run("report", "--json").stdout
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["components"].keys() == {"50%", "90%", "99%"}
