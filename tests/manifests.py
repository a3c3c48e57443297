"""Manifests for tests: a folder with what they name, and what is wrong with one."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from embedmill import Manifest, ManifestError, read_manifest

TEST_MODEL = {"model": "test:8", "allow-test-model": True}


def fill(folder: Path) -> Path:
    """A folder with documents in ``docs``, a table ``notes`` in ``app.db`` and terms in ``terms.txt``."""
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "rose.md").write_text("A rose grows in the garden.")
    (folder / "docs" / "bread.txt").write_text("Bread is baked in an oven.")
    words = ("bread", "rose", "stone", "water", "lamp", "wolf")
    (folder / "terms.txt").write_text("".join(f"{word} number {n}\n" for n in range(10) for word in words))
    with closing(sqlite3.connect(folder / "app.db")) as db, db:
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        db.executemany("INSERT INTO notes (text) VALUES (?)", [["Water in the river."], ["A stone."]])
    return folder


def read(folder: Path, text: str, name: str = "manifest.yaml") -> Manifest:
    """The manifest of this text."""
    (folder / name).write_text(text)
    return read_manifest(folder / name)


def mistakes(folder: Path, text: str, name: str = "manifest.yaml") -> list[str]:
    """What is wrong with a manifest of this text, without the folder; each in one line."""
    with pytest.raises(ManifestError) as caught:
        read(folder, text, name)
    assert all(line.isprintable() for line in caught.value.mistakes)
    return [line.replace(f"{folder}/", "") for line in caught.value.mistakes]


def of_jobs(*jobs: dict[str, Any], **parts: Any) -> str:
    """The text of a manifest, in JSON, which is YAML too."""
    return json.dumps(({"jobs": jobs} if jobs else {}) | parts)
