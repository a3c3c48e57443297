"""Whatever stands in a store's columns, commands end in one line: SQLite lets any value into any column."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedmill.cli import exit_codes, exits
from embedmill.storage.sqlite.store.database import misfits

WRONG = {"text": "wrong", "blob": b"\xff\x00\x01"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, fixture_models: Path) -> Path:
    """A store of three documents, and of one that cannot be read."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "docs").mkdir()
    for name in ("bees", "ships", "law"):
        (folder / "docs" / f"{name}.md").write_text(f"# All about {name}\n\nAnd nothing else.\n")
    (folder / "docs" / "bad.pdf").write_bytes(b"%PDF-1.4 nonsense")
    with pytest.MonkeyPatch.context() as patch:
        settings(patch, folder, fixture_models)
        assert exits.run(["index", str(folder / "docs"), "--store", f"sqlite:{folder / 'index.db'}", "-q"]) == 3
    return folder / "index.db"


def settings(patch: pytest.MonkeyPatch, folder: Path, models: Path) -> None:
    patch.chdir(folder)
    patch.setenv("EMBEDMILL_CACHE_DIR", str(folder / "cache"))
    patch.setenv("EMBEDMILL_MODEL", str(models / "bert-mean"))
    patch.setenv("EMBEDMILL_PRECISION", "f32")


def columns(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [(table, row[1]) for table in tables for row in db.execute(f"PRAGMA table_info({table})")]


COMMANDS = (["status"], ["search", "words"], ["verify", "--sample", "0"], ["retry-failed", "-q"])


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_values_end_in_one_line(
    kind: str,
    sound: Path,
    tmp_path: Path,
    fixture_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings(monkeypatch, sound.parent, fixture_models)
    for number, (table, column) in enumerate(columns(sound)):
        damaged = tmp_path / f"{number}.db"
        shutil.copy(sound, damaged)
        with closing(sqlite3.connect(damaged)) as db:
            try:
                db.execute(f'UPDATE OR IGNORE {table} SET "{column}" = ?', (WRONG[kind],))
                db.commit()
            except sqlite3.Error:
                continue  # SQLite itself does not let it in
        shift = list(WRONG).index(kind)
        arguments = COMMANDS[(number + shift) % len(COMMANDS)]
        code = exits.run([*arguments, "--store", f"sqlite:{damaged}"])
        out, err = capsys.readouterr()
        where = f"{table}.{column} {arguments}: {err}"
        assert "with -v" not in err and "Traceback" not in out + err, where
        if code == exit_codes.ERROR:
            assert err.splitlines()[-1].startswith("error: "), where


def test_a_vector_that_is_not_finite_is_not_the_matrix_s_fault(
    sound: Path,
    tmp_path: Path,
    fixture_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings(monkeypatch, sound.parent, fixture_models)
    for name, blob in {"nan": np.full(32, np.nan, "<f4").tobytes(), "short": b"\0" * 8, "odd": b"\0" * 7}.items():
        damaged = tmp_path / f"{name}.db"
        shutil.copy(sound, damaged)
        with closing(sqlite3.connect(damaged)) as db:
            db.execute("UPDATE vectors SET vector = ? WHERE chunk = (SELECT max(chunk) FROM vectors)", (blob,))
            db.commit()
        assert exits.run(["search", "words", "--store", f"sqlite:{damaged}"]) == exit_codes.ERROR
        error = capsys.readouterr().err.splitlines()[-1]
        assert "is damaged" in error and "index into a new --store" in error, error
        assert "remove that file" not in error
        assert exits.run(["verify", "--sample", "0", "--store", f"sqlite:{damaged}"]) == exit_codes.SOME_FAILED
        assert ": chunk 0: its vector" in capsys.readouterr().out or name != "nan"


def test_a_sound_store_has_no_misfits(sound: Path) -> None:
    with closing(sqlite3.connect(sound)) as db:
        assert list(misfits(db)) == []
