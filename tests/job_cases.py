"""Jobs that are run twice, with an option and without it, and what is looked at afterwards."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from embedmill import BatchJob, EmbedmillError, ManifestError
from manifests import fill, of_jobs, read
from tables import ask, make

LONG: Final = "a long text of many words " * 60  # more tokens than the model reads

TREE: Final = """
animals:
  - fox
  - fox
  - a wolf
plants:
  trees:
    - oak
  flowers: [rose]
"""
HIERARCHY: Final = {"LabelName": "/m/0", "Subcategory": [{"LabelName": "/m/1"}, {"LabelName": "/m/2"}]}


class _Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


@dataclass(slots=True)
class Outcome:
    """What became of a job."""

    folder: Path
    job: BatchJob | None = None
    """None where the manifest was refused."""
    report: Any = None
    error: str = ""
    log: str = ""
    progress: list[Any] = field(default_factory=list)
    url: str = ""
    """Of the database of PostgreSQL, where there is one."""

    @property
    def known(self) -> Any:
        """What is the same for two jobs that do the same."""
        return self.error if self.job is None else (self.job.command, self.job.arguments, self.job.timeout)

    def bytes(self, name: str = "out.yaml") -> bytes:
        """What a file of the folder has."""
        return (self.folder / name).read_bytes()

    def rows(self, query: str, name: str = "app.db") -> list[Any]:
        """What a database of the folder has."""
        with closing(sqlite3.connect(self.folder / name)) as db:
            return db.execute(query).fetchall()

    def ask(self, query: str) -> list[Any]:
        """What the database of PostgreSQL has."""
        return ask(self.url, query)


Seen = Callable[[Outcome], Any]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another program has the table's database for itself."""
    with closing(sqlite3.connect(folder / "app.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@dataclass(frozen=True, slots=True)
class Case:
    """An option's value, and what it changes."""

    value: Any
    seen: Seen
    """What is looked at; differs with the option and without it."""
    wanted: Any = None
    """What that is with the option; None: only another thing than without it."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further options of both jobs; None takes one away."""
    shared: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of both jobs, which reach those that take them."""
    unless: Any = None
    """The value of the job without it; None: it has none."""
    before: Mapping[str, Any] | None = None
    """What a job has that is done first, in the same folder, beside what both have."""
    during: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext()
    """What goes on meanwhile."""
    on_server: bool = False
    """Whether the store is a database of PostgreSQL, with a table `items`."""
    alone: bool = False
    """Whether only `wanted` is looked at: a time has a lower bound, and none above."""


def filled(folder: Path) -> Path:
    """As `fill`, with what only some options take or leave."""
    fill(folder)
    (folder / "docs" / ".hidden.md").write_text("A hidden stone.")
    (folder / "docs" / "package-lock.json").write_text('{"name": "stone"}')
    (folder / "docs" / "turkish.txt").write_bytes("Gül bahçede büyür, ekmek fırında pişer.".encode("cp1254"))
    (folder / "docs" / "long.txt").write_text("Bread is baked in an oven, and eaten at a table. " * 10)
    (folder / "tree.yaml").write_text(TREE)
    (folder / "pairs.csv").write_text("parent,child\n,plant\nplant,oak\nplant,flower\nflower,rose\n")
    (folder / "hierarchy.json").write_text(json.dumps(HIERARCHY))
    (folder / "classes.csv").write_text("/m/0,Entity\n/m/1,Fox\n/m/2,Wolf\n")
    wide = "".join(f"  - {line}\n" for line in (folder / "terms.txt").read_text().splitlines())
    (folder / "wide.yaml").write_text(f"wide:\n{wide}")
    (folder / "over.yaml").write_text("wide: {max-leaf: 100}\n")
    (folder / "glosses.csv").write_text("".join(f"{name},what {name} is\n" for name in ("bread", "rose", "wolf")))
    with closing(sqlite3.connect(folder / "app.db")) as db, db:
        db.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, text TEXT, other TEXT)")
        rows = [("c", "Water in the river.", "Sand."), ("b", "A stone.", "Ice."), ("a", LONG, "Fire.")]
        db.executemany("INSERT INTO items (code, text, other) VALUES (?, ?, ?)", rows)
    return folder


def on_server(url: str) -> None:
    """A table `items` in a database of PostgreSQL."""
    make(url, 20, vector="", name="items")


def read_job(folder: Path, job: Mapping[str, Any], defaults: Mapping[str, Any]) -> Outcome:
    """Read a manifest of one job; options of None are left out."""
    outcome = Outcome(folder)
    given = {name: value for name, value in job.items() if value is not None}
    try:
        (outcome.job,) = read(folder, of_jobs(given, defaults=dict(defaults))).jobs
    except ManifestError as error:
        outcome.error = " ".join(line.split(": ", 1)[1] for line in error.mistakes)
    return outcome


def do(outcome: Outcome, during: AbstractContextManager[None]) -> None:
    """Do the job, where it was not refused."""
    if outcome.job is None:
        return
    handler, log = _Lines(), logging.getLogger("embedmill")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with during:
            outcome.report = outcome.job.bound()(on_progress=outcome.progress.append)
    except EmbedmillError as error:
        outcome.error = str(error)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    outcome.log = "\n".join(handler.lines)
