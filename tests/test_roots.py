"""Folders and stores that are moved, renamed, copied and deleted; what every store makes of that."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest

from embedmill.core.documents import Hit
from embedmill.core.reports import Report
from embedmill.executors.threads import ThreadExecutor
from embedmill.pipelines.index.indexer import Indexer
from embedmill.sources.files.source import FileSource
from embedmill.storage.postgres import migrate as schemas
from embedmill.storage.registry import driver_of, local_files, open_store
from embedmill.storage.rooted import RootedStore
from embedmill.storage.roots import Machine
from samples import prose
from store_places import DURABLE
from troubled import TroubledEmbedder

EVERYTHING = 10_000


class Desk:
    """Folders, and a store that may lie anywhere."""

    def __init__(self, folder: Path, place: dict[str, str], embedder: TroubledEmbedder) -> None:
        self.folder = folder
        self.place = place
        self.embedder = embedder

    def write(self, name: str, seed: int = 0) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(prose(seed or sum(name.encode()), 2))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    def index(self, *names: str, prune: bool = False, here: Machine | None = None, **options: object) -> Report:
        url, schema = self.place["url"], self.place.get("schema", "")
        backend = driver_of(url).open_store(url, write=True, create=True, schema=schema, db_timeout=60.0)
        with closing(RootedStore(backend, here)) as store:
            paths = [self.folder / name for name in names]
            source = FileSource(paths, never=local_files(url), **options)  # type: ignore[arg-type]
            run = Indexer(store, self.embedder, ThreadExecutor(self.embedder))
            return run.run(source, prune=prune)

    def hits(self) -> list[Hit]:
        with closing(open_store(**self.place, write=False)) as store:
            return store.search(np.ones(self.embedder.dimension, np.float32), EVERYTHING)

    def found(self) -> list[str]:
        """The documents of all hits, each once; fails where one is there twice."""
        hits = self.hits()
        chunks = [(hit.document, hit.chunk) for hit in hits]
        assert len(set(chunks)) == len(chunks)
        return sorted({os.path.relpath(hit.document, self.folder) for hit in hits})

    def roots(self) -> dict[str, tuple[str, int]]:
        with closing(open_store(**self.place, write=False)) as store:
            return {
                os.path.relpath(root.path, self.folder) if root.path.startswith("/") else root.path: (
                    root.state,
                    root.documents,
                )
                for root in store.root_list()
            }


@pytest.fixture(scope="module")
def embedder() -> Iterator[TroubledEmbedder]:
    embedder = TroubledEmbedder()
    yield embedder
    embedder.close()


@pytest.fixture
def desk(tmp_path: Path, place: dict[str, str], embedder: TroubledEmbedder) -> Desk:
    """With a store apart from all folders."""
    return Desk(tmp_path, place, embedder)


Beside = Callable[[str], Desk]


@pytest.fixture
def beside(tmp_path: Path, embedder: TroubledEmbedder) -> Beside:
    """With a store in a file of this name; there is such a thing in SQLite alone."""
    return lambda name: Desk(tmp_path, {"url": f"sqlite:{tmp_path}/{name}"}, embedder)


def test_a_root_moved_while_the_store_stays_is_named_as_gone(desk: Desk) -> None:
    desk.write("proj/a.md")
    desk.write("proj/src/b.md")
    desk.index("proj")
    (desk.folder / "proj").rename(desk.folder / "moved")
    report = desk.index("moved")
    assert (report.embedded, report.removed) == (0, 0)
    assert report.vanished == {f"{desk.folder}/proj": 2}
    assert desk.roots() == {"moved": ("here", 2), "proj": ("gone", 2)}
    assert desk.found() == ["moved/a.md", "moved/src/b.md"]
    report = desk.index("moved", prune=True)
    assert (report.removed, report.vanished) == (2, {})
    assert desk.roots() == {"moved": ("here", 2)}


def test_forget_takes_out_a_root_that_is_gone_or_a_part_of_one_that_is_not(desk: Desk) -> None:
    desk.write("proj/a.md")
    desk.write("proj/src/b.md")
    desk.write("other/c.md")
    desk.index("proj", "other")
    shutil.rmtree(desk.folder / "other")
    with closing(open_store(**desk.place)) as store:
        assert store.vanished() == {f"{desk.folder}/other": 1}
        assert store.forget([f"{desk.folder}/other/", f"{desk.folder}/proj/src/"]) == 2
        assert store.forget([f"{desk.folder}/other/"]) == 0
    assert desk.roots() == {"proj": ("here", 1)}
    assert desk.found() == ["proj/a.md"]
    assert desk.index("proj").documents == 2
    assert desk.found() == ["proj/a.md", "proj/src/b.md"]


def test_a_root_that_is_gone_is_still_searched_where_all_are(desk: Desk) -> None:
    desk.write("proj/a.md")
    desk.index("proj")
    shutil.rmtree(desk.folder / "proj")
    assert desk.found() == ["proj/a.md"]


def test_overlapping_roots_hold_each_file_once(desk: Desk) -> None:
    desk.write("proj/a.md")
    desk.write("proj/src/b.md")
    desk.index("proj/src")
    desk.index("proj/a.md")
    assert desk.roots() == {"proj/src": ("here", 1), "proj/a.md": ("here", 1)}
    report = desk.index("proj")
    assert (report.documents, report.unchanged, report.embedded) == (2, 2, 0) or report.chunks == 0
    assert desk.roots() == {"proj": ("here", 2)}
    desk.index("proj/src")
    assert desk.roots() == {"proj": ("here", 2)}
    (desk.folder / "proj/src").rename(desk.folder / "proj/lib")
    report = desk.index("proj")
    assert (report.embedded, report.removed, report.vanished) == (0, 1, {})
    assert desk.found() == ["proj/a.md", "proj/lib/b.md"]


def test_a_root_inside_another_that_is_gone_stays_until_it_is_back(desk: Desk) -> None:
    """As a disk that is not mounted: what lies around it is indexed meanwhile."""
    desk.write("media/disk/a.md")
    desk.write("media/b.md")
    desk.index("media/disk")
    (desk.folder / "media/disk").rename(desk.folder / "away")
    report = desk.index("media")
    assert (report.removed, report.vanished) == (0, {f"{desk.folder}/media/disk": 1})
    assert desk.found() == ["media/b.md"]
    (desk.folder / "away").rename(desk.folder / "media/disk")
    assert desk.index("media").embedded == 0
    assert desk.roots() == {"media": ("here", 2)}


def test_two_roots_of_one_name_and_one_whose_name_begins_like_another(desk: Desk) -> None:
    for name in ("one/notes/a.md", "two/notes/a.md", "two/notes2/a.md", "two/notes.md"):
        desk.write(name)
    desk.index("one/notes", "two/notes", "two/notes2", "two/notes.md")
    assert len(desk.roots()) == 4
    shutil.rmtree(desk.folder / "two/notes")
    assert desk.index("one/notes").vanished == {f"{desk.folder}/two/notes": 1}
    assert desk.found() == ["one/notes/a.md", "two/notes.md", "two/notes2/a.md"]


def test_a_root_behind_a_link_that_is_put_in_its_place(desk: Desk) -> None:
    desk.write("proj/a.md")
    desk.index("proj")
    (desk.folder / "proj").rename(desk.folder / "moved")
    (desk.folder / "proj").symlink_to("moved")
    report = desk.index("proj")
    assert (report.unchanged + report.embedded, report.embedded, report.vanished) == (1, 0, {})
    assert desk.roots() == {"moved": ("here", 1)}


def test_names_that_are_hard_to_write(desk: Desk) -> None:
    folder = os.fsencode(desk.folder) + b"/caf\xe9 \\x41\n1/7"
    os.makedirs(folder)  # noqa: PTH103 - a path of bytes
    with open(folder + b"/\xff\\.md", "w") as file:  # noqa: PTH123
        file.write(prose(1, 2))
    desk.index(os.fsdecode(b"caf\xe9 \\x41\n1"))
    os.rename(os.path.dirname(folder), os.fsencode(desk.folder) + b"/\xe8")  # noqa: PTH104, PTH120
    report = desk.index("\udce8")
    assert (report.embedded, list(report.vanished.values())) == (0, [1])
    assert desk.index("\udce8", prune=True).removed == 1
    assert [hit.document for hit in desk.hits()][:1] == [f"{desk.folder}/\\xe8/7/\\xff\\.md"]


def test_what_was_given_is_remembered_with_its_options(desk: Desk) -> None:
    desk.write("proj/a.md")
    desk.write("proj/src/b.md")
    with closing(open_store(**desk.place)) as store:
        root = f"{desk.folder}/proj/"
        store.register([f"{root}src/"], json.dumps({"hidden": True}))
        assert store.given_as(f"{root}a.md") is None
        store.register([root], json.dumps({"chunk_tokens": 64}))
        for name in ("a.md", "src/", "src/b.md"):
            given = store.given_as(root + name)
            assert given is not None and (given.path, given.options) == (root, {"chunk_tokens": 64})
        store.register([f"{root}src/"], json.dumps({"hidden": False}))
        given = store.given_as(f"{root}src/b.md")
        assert given is not None and (given.path, given.options) == (f"{root}src/", {"hidden": False})


# Stores of versions that knew no roots


def of_before(desk: Desk) -> None:
    """Make the store one of an older version: with its tables, and names that are absolute paths."""
    url = desk.place["url"]
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:"))) as db, db:
            names = db.execute("SELECT document, path FROM paths").fetchall()
            db.execute("DROP VIEW paths")
            for table in ("roots", "given"):
                db.execute(f"DROP TABLE {table}")
            for column in ("page", "attributes"):
                db.execute(f"ALTER TABLE chunks DROP COLUMN {column}")
            db.execute("ALTER TABLE vectors DROP COLUMN checksum")
            for column in ("ctime_ns", "inode"):
                db.execute(f"ALTER TABLE documents DROP COLUMN {column}")
            db.executemany("UPDATE documents SET name = ? WHERE id = ?", [(name, number) for number, name in names])
            db.execute("PRAGMA user_version = 1")
        return
    scripts = sorted(schemas.MIGRATIONS.glob("*.sql"))[:2]
    with psycopg.connect(url, autocommit=True) as connection:
        schema = psycopg.sql.Identifier(desk.place["schema"]).as_string(connection)
        connection.execute(f"ALTER SCHEMA {schema} RENAME TO newer")
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"SET search_path TO {schema}, public")
        connection.execute("CREATE TABLE migrations (number integer PRIMARY KEY, at timestamptz DEFAULT now())")
        for number, script in enumerate(scripts, 1):
            connection.execute(script.read_bytes())
            connection.execute("INSERT INTO migrations VALUES (%s)", [number])
        connection.execute("UPDATE writer SET host = %s", [os.uname().nodename])
        connection.execute("INSERT INTO meta SELECT one, space, fields, dimension, model FROM newer.meta")
        connection.execute(
            """INSERT INTO documents OVERRIDING SYSTEM VALUE
               SELECT id, path, complete, size, mtime_ns, content_hash, recipe, precision, chunks
               FROM newer.documents JOIN newer.paths ON document = id"""
        )
        columns = 'id, document, idx, start, "end", line, end_line, tokens, hash, vector, context, text'
        connection.execute(f"INSERT INTO chunks OVERRIDING SYSTEM VALUE SELECT {columns} FROM newer.chunks")
        connection.execute("DROP SCHEMA newer CASCADE")


@pytest.mark.parametrize("place", DURABLE, indirect=True)
def test_an_older_store_is_brought_up_to_date_without_a_model_call(desk: Desk) -> None:
    for name in ("proj/a.md", "proj/src/b.md", "docs/deep/c.md", "gone/d.md", "gone/e/f.md", "single.txt"):
        desk.write(name)
    desk.index("proj", "docs", "gone", "single.txt")
    of_before(desk)
    shutil.rmtree(desk.folder / "gone")
    calls = desk.embedder.calls
    report = desk.index("proj", "docs", "single.txt")
    assert (report.unchanged, report.removed, desk.embedder.calls) == (4, 0, calls)
    assert report.vanished == {f"{desk.folder}/gone": 2}
    assert desk.found() == ["docs/deep/c.md", "proj/a.md", "proj/src/b.md", "single.txt"]
    assert desk.index("proj", "docs", "single.txt", prune=True).removed == 2


def test_an_older_store_of_a_project_that_was_moved_before(beside: Beside) -> None:
    desk = beside("work/proj/.embedmill/index.db")
    for name in ("docs/a.md", "docs/b.md", "src/c.py"):
        desk.write(f"work/proj/{name}")
    desk.index("work/proj/docs", "work/proj/src")
    of_before(desk)
    (desk.folder / "work").rename(desk.folder / "moved")
    desk = beside("moved/proj/.embedmill/index.db")
    calls = desk.embedder.calls
    report = desk.index("moved/proj/docs", "moved/proj/src")
    assert (report.unchanged, report.vanished, desk.embedder.calls) == (3, {}, calls)
    assert desk.found() == ["moved/proj/docs/a.md", "moved/proj/docs/b.md", "moved/proj/src/c.py"]


# On several machines

ADA, BEN, BOX = Machine("1", "ada"), Machine("2", "ben"), Machine("", "box")


def test_two_machines_share_a_store(desk: Desk) -> None:
    desk.write("proj/a.md")
    desk.index("proj", here=ADA)
    away = desk.folder / "away"
    (desk.folder / "proj").rename(away)
    desk.write("other/b.md")
    report = desk.index("other", here=BEN)  # on which /proj never was
    assert report.vanished == {}
    assert desk.index("other", here=BEN, prune=True).removed == 0
    (desk.folder / "proj").mkdir()
    desk.write("proj/a.md", seed=7).write_text("Something else.")
    report = desk.index("proj", here=BEN)  # of the same path, and another folder
    assert (report.embedded, report.removed) == (1, 0)
    shutil.rmtree(desk.folder / "proj")
    away.rename(desk.folder / "proj")
    assert desk.index("proj", here=ADA).unchanged == 1


def test_a_checkout_at_the_same_path_of_another_machine_is_the_same_root(desk: Desk) -> None:
    desk.write("proj/a.md")
    desk.write("proj/b.md")
    desk.index("proj", here=ADA)
    report = desk.index("proj", here=BEN)
    assert (report.embedded, len(desk.roots())) == (0, 1)
    assert desk.index("proj", here=BOX).unchanged == 2  # a container without an identity
    assert len(desk.roots()) == 1


def test_the_path_of_another_machine_has_its_name_before_it(desk: Desk) -> None:
    desk.write("proj/a.md")
    desk.index("proj", here=ADA)
    (desk.folder / "proj").rename(desk.folder / "away")
    place = f"ada:{desk.folder}/proj"
    assert desk.roots() == {place: ("elsewhere", 1)}
    assert [hit.document for hit in desk.hits()][:1] == [f"{place}/a.md"]
    with closing(open_store(**desk.place)) as store:
        assert store.states([f"{place}/a.md"])
        assert store.forget([f"{place}/"]) == 1
    assert desk.roots() == {}


# A store that lies by its root


@pytest.mark.parametrize(
    ("store", "given"),
    [
        ("proj/.embedmill/index.db", ["proj"]),
        ("proj/.embedmill/index.db", ["proj/src", "proj/a.md"]),
        ("proj/notes.db", ["proj"]),
        ("proj/notes.db", ["proj/src", "proj/a.md"]),
        ("proj/data/store/notes.db", ["proj"]),
        ("proj/stores/notes.db", ["proj/src", "proj/a.md"]),
        ("proj/app/.embedmill/index.db", ["proj/src", "proj/a.md"]),
        ("proj/app/.embedmill/index.db", ["proj"]),
    ],
)
def test_a_store_in_or_beside_its_root_moves_with_it(beside: Beside, store: str, given: list[str]) -> None:
    desk = beside(store)
    desk.write("proj/a.md")
    desk.write("proj/src/b.md")
    assert desk.index(*given).documents == 2
    (desk.folder / "proj").rename(desk.folder / "moved")
    desk.place["url"] = f"sqlite:{desk.folder}/{store.replace('proj', 'moved', 1)}"
    moved = ["moved/a.md", "moved/src/b.md"]
    assert desk.found() == moved
    calls = desk.embedder.calls
    report = desk.index(*[name.replace("proj", "moved", 1) for name in given])
    assert (report.unchanged, report.vanished, desk.embedder.calls) == (2, {}, calls)
    assert desk.found() == moved


@pytest.mark.parametrize("store", [".embedmill/index.db", "notes.db"])
def test_a_project_and_its_copy_work_each_on_its_own(beside: Beside, store: str) -> None:
    desk = beside(f"proj/{store}")
    desk.write("proj/a.md")
    desk.write("proj/b.md")
    desk.index("proj")
    shutil.copytree(desk.folder / "proj", desk.folder / "copy")
    copy = beside(f"copy/{store}")
    assert copy.found() == ["copy/a.md", "copy/b.md"]
    (desk.folder / "copy/b.md").unlink()
    calls = desk.embedder.calls
    report = copy.index("copy")
    assert (report.unchanged, report.removed, report.vanished, desk.embedder.calls) == (1, 1, {}, calls)
    assert copy.found() == ["copy/a.md"]
    assert desk.found() == ["proj/a.md", "proj/b.md"]
    assert desk.index("proj").unchanged == 2


def test_a_store_moved_away_from_its_root_still_knows_it(beside: Beside) -> None:
    desk = beside("proj/notes.db")
    desk.write("proj/a.md")
    desk.index("proj")
    (desk.folder / "elsewhere").mkdir()
    for name in ("notes.db", "notes.db.lock"):
        (desk.folder / "proj" / name).rename(desk.folder / "elsewhere" / name)
    desk.place["url"] = f"sqlite:{desk.folder}/elsewhere/notes.db"
    assert desk.found() == ["proj/a.md"]
    assert desk.index("proj").unchanged == 1
    shutil.rmtree(desk.folder / "proj")
    assert desk.roots() == {"proj": ("gone", 1)}


@pytest.mark.parametrize(
    ("given", "found"), [("proj", ["proj/a.md", "proj/app/b.md"]), ("proj/lib", ["proj/lib/c.md"])]
)
def test_a_folder_moved_with_its_store_away_from_a_root_around_or_beside_it(
    beside: Beside, given: str, found: list[str]
) -> None:
    desk = beside("proj/app/.embedmill/index.db")
    for name in found:
        desk.write(name)
    (desk.folder / "proj/app").mkdir(exist_ok=True)
    desk.write("else/other.md")
    desk.write("else/lib/other.md")
    desk.index(given)
    (desk.folder / "proj/app").rename(desk.folder / "else/app")
    desk.place["url"] = f"sqlite:{desk.folder}/else/app/.embedmill/index.db"
    assert desk.roots() == {given: ("here", len(found))}
    assert desk.found() == found
