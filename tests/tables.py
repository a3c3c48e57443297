"""PostgreSQL tables to fill, and what must be true of them afterwards."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, LiteralString, cast
from unittest import mock

import numpy as np
import psycopg
from psycopg import conninfo, sql

from cli_runs import Shell, without_progress
from embedmill.cli import exits
from troubled import SMALL_MODEL, small_embedder

DIMENSION = 32  # of SMALL_MODEL's vectors
TRACEBACK = "Traceback"

_WORDS = ["garden", "vector", "search", "store", "index", "rose", "bread", "water", "light", "paper", "stone", "river"]


def text(number: int) -> str:
    """A short text, another for each number."""
    return f"{_WORDS[number % 12]} {_WORDS[number // 12 % 12]} number {number}"


def shell(folder: Path, url: str, kind: type[Shell] = Shell, **settings: str) -> Shell:
    """Where to run commands on a database, with the small model and a cache of its own."""
    return kind(
        folder,
        **{
            "EMBEDMILL_STORE": url,
            "EMBEDMILL_MODEL": str(SMALL_MODEL),
            "EMBEDMILL_PRECISION": "f32",
            "EMBEDMILL_CACHE_DIR": str(folder / "cache"),
        }
        | settings,
    )


class Within(Shell):
    """Runs commands in this process: for many short ones. Signals are not for it.

    A command that is given more than a folder and an environment has a process of its own.
    """

    def run(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        if options.keys() - {"cwd", "env"}:
            return super().run(*arguments, **options)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, options.get("env", self.environment), clear=True),
            redirect_stdout(out),
            redirect_stderr(err),
            chdir(options.get("cwd", self.folder)),
        ):
            try:
                code = exits.run([str(argument) for argument in arguments])
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), without_progress(err.getvalue()))


def name_of(url: str) -> str:
    """The database's name."""
    return str(conninfo.conninfo_to_dict(url)["dbname"])


def ask(url: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """The rows that statements give, the last of them where there are several."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(cast(LiteralString, query), parameters)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []


def make(
    url: str,
    rows: int | Iterable[str | None] = 30,
    *,
    columns: str = "id bigint PRIMARY KEY, text text",
    vector: str = f"embedding vector({DIMENSION})",
    name: str = "sentences",
    into: str = "id, text",
) -> None:
    """A table with columns for a number, counted from 1, and a text."""
    texts = [text(number) for number in range(1, rows + 1)] if isinstance(rows, int) else rows
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(cast(LiteralString, f"CREATE TABLE {name} ({', '.join(filter(None, [columns, vector]))})"))
        with connection.cursor().copy(cast(LiteralString, f"COPY {name} ({into}) FROM STDIN")) as copy:
            for row in enumerate(texts, 1):
                copy.write_row(row)


def vectors(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """What the small model makes of texts, computed anew, ``(n, 32)``."""
    embedder = small_embedder()
    try:
        return embedder.embed(texts)
    finally:
        embedder.close()


def complete(url: str, name: str = "sentences", vector: str = "embedding", *, atol: float = 2e-6) -> int:
    """Every row with a text has the vector of that text; nothing is held, or known twice. Gives their number."""
    rows = ask(url, f"SELECT text::text, {vector}::real[] FROM {name} WHERE text IS NOT NULL ORDER BY id")
    missing = [text for text, found in rows if found is None]
    assert not missing, (len(missing), missing[:3])
    expected = vectors([text for text, _ in rows])
    np.testing.assert_allclose(np.array([found for _, found in rows]), expected, rtol=0, atol=atol)
    ((marks, different, held, filled),) = ask(
        url, f"SELECT count(*), count(DISTINCT key1), count(*) FILTER (WHERE held), count(space) FROM {marks_of(url)}"
    )
    assert (marks, different, held, filled) == (len(rows), len(rows), 0, len(rows))
    return len(rows)


def marks_of(url: str) -> str:
    """The only table of marks."""
    ((name,),) = ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'embedmill' AND tablename LIKE 'marks%'")
    return f"embedmill.{name}"


def filled(url: str, name: str = "sentences", vector: str = "embedding") -> int:
    """How many rows have a vector."""
    return int(ask(url, f"SELECT count({vector}) FROM {name}")[0][0])


def refused(done: Any, code: int, pattern: str) -> str:
    """One line on standard error that says what is wrong, nothing on standard output; gives the line."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == "" and TRACEBACK not in done.stderr, done
    *notes, line = done.stderr.splitlines()
    assert all(note.startswith("warning: ") for note in notes), done.stderr
    assert line.startswith("error: ") and re.search(pattern, line), line
    return line


@contextmanager
def terminal() -> Iterator[tuple[int, Callable[[str], None]]]:
    """A terminal to give a process as its standard error, and what waits until some words appear there."""
    screen, end = pty.openpty()
    shown = ""

    def see(words: str) -> None:
        nonlocal shown
        while words not in shown:
            if select.select([screen], [], [], 1)[0]:
                shown += os.read(screen, 1000).decode(errors="replace")

    try:
        yield end, see
    finally:
        os.close(end)
        os.close(screen)


@contextmanager
def user(url: str, *grants: str, options: str = "") -> Iterator[str]:
    """The URL of the same database for a new user, who has these rights; `{}` stands for the user's name."""
    name = f"user_{name_of(url)}"
    quoted = sql.Identifier(name).as_string(None)
    ask(url, f"CREATE ROLE {quoted} LOGIN PASSWORD 'hush hush' {options}")
    try:
        for grant in grants:
            ask(url, grant.format(quoted))
        yield url.replace("//postgres@", f"//{name}@")
    finally:
        ask(url, f"REASSIGN OWNED BY {quoted} TO CURRENT_USER; DROP OWNED BY {quoted}; DROP ROLE {quoted}")
