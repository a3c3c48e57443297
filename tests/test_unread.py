"""Texts that the model's vocabulary has nothing of."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import embedmill
import tables
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.models import ModelFiles
from tables import Within
from troubled import SMALL_MODEL

MULTILINGUAL = "paraphrase-multilingual-MiniLM-L12-v2"
HEX = "0123456789abcdef" * 20  # one word, longer than the tokenizer takes


@pytest.fixture(scope="module")
def embedder(real_model: ModelFiles) -> Iterator[OpenVINOEmbedder]:
    with embedmill.load_embedder(str(real_model.folder)) as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("text", "unknown", "tokens"),
    [("😀", 1, 1), ("你好世界", 3, 4), ("hello", 0, 1), ("hello 😀", 1, 2), ("\u200b", 0, 0), (HEX, 1, 1)],
)
def test_what_the_default_model_does_not_know(embedder: OpenVINOEmbedder, text: str, unknown: int, tokens: int) -> None:
    (ids,) = embedder.encode([text])
    assert embedder.unknown_tokens(ids) == (unknown, tokens)


def test_the_prompt_does_not_count() -> None:
    embedder = embedmill.load_embedder(str(SMALL_MODEL.with_name("bert-prompts")))
    for task in ("document", "query"):
        (ids,) = embedder.encode(["😀"], task=task)
        assert embedder.unknown_tokens(ids, task=task) == (1, 1)


@pytest.fixture
def shell(tmp_path: Path, real_model: ModelFiles) -> Within:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "data.txt").write_text(HEX)
    (tmp_path / "docs" / "bread.txt").write_text("Bread is baked in an oven.")
    found = tables.shell(tmp_path, "sqlite:index.db", Within, EMBEDMILL_MODEL=str(real_model.folder))
    assert isinstance(found, Within)
    return found


def test_chunks_are_counted_and_queries_warned_of(shell: Within) -> None:
    report = shell.run("index", "docs", "--json")
    assert '"unknown": 1' in report.stdout
    assert report.stderr.count("\n") == 1 and "knows nothing of 1 chunk" in report.stderr
    assert "1 unknown to the model" in shell.run("index", "docs", "--dry-run", "--store", "sqlite:new.db").stdout
    for query in ("😀", "你好世界", "\u200b"):
        found = shell.run("search", query)
        assert (found.returncode, found.stderr.count("\n")) == (0, 1), query
        assert MULTILINGUAL in found.stderr
    assert shell.run("search", "bread").stderr == ""
    assert shell.run("search", "bread 😀").stderr == ""
    assert shell.run("search", "-q", "😀").stderr == ""


def test_rows_are_counted(shell: Within) -> None:
    with closing(sqlite3.connect(shell.folder / "app.db")) as db, db:
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        db.executemany("INSERT INTO notes (text) VALUES (?)", [("😀",), ("bread",), ("สวัสดี",)])
    done = shell.run("ingest", "notes", "--create", "--store", "sqlite:app.db")
    assert "2 unknown to the model" in done.stdout
    assert "knows nothing of 2 rows" in done.stderr


def test_lists_of_texts_are_warned_of(embedder: OpenVINOEmbedder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        vectors = embedder.embed(["bread", "😀", "สวัสดี"])
    assert "knows nothing of 2 texts, as '😀'" in caplog.text and MULTILINGUAL in caplog.text
    np.testing.assert_allclose(vectors[1], vectors[2], atol=1e-6)  # which is why
