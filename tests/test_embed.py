"""`embedmill.embed`, and a user's program of public names."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedmill
from embedmill import ModelLoader
from embedmill.models import ModelFiles, read_card
from troubled import SMALL_MODEL

ROOT = Path(__file__).parent.parent
SMALL = str(SMALL_MODEL)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    ModelLoader.reset_cache()
    yield
    ModelLoader.reset_cache()


def cached() -> int:
    with embedmill.PersistentCache() as cache:
        return cache.stats().entries


def test_one_text_and_several() -> None:
    one = embedmill.embed("bread", model=SMALL)
    several = embedmill.embed(["rose", "bread", "bread"], model=SMALL)
    assert (one.shape, several.shape, one.dtype, several.dtype) == ((32,), (3, 32), np.float32, np.float32)
    np.testing.assert_array_equal(several[[1, 2]], [one, one])
    with embedmill.load_embedder(SMALL) as embedder:
        np.testing.assert_allclose(several, embedder.embed(["rose", "bread", "bread"]), atol=2e-3)


def test_what_is_known_needs_no_model() -> None:
    before = embedmill.embed(["bread", "rose"], model=SMALL)
    assert cached() == 2
    ModelLoader.reset_cache()
    told: list[int] = []
    again = embedmill.embed(["rose", "bread"], model=SMALL, on_progress=told.append)
    np.testing.assert_array_equal(again[::-1], before)
    assert told == [2] and not ModelLoader(SMALL).embedder.loaded
    embedmill.embed(["rose", "bread", "water"], model=SMALL)
    assert ModelLoader(SMALL).embedder.loaded and cached() == 3


def test_without_the_cache() -> None:
    embedmill.embed(["bread", "rose"], model=SMALL, cache=False)
    assert cached() == 0


def test_settings_say_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBED_MODEL", "test:8")
    monkeypatch.setenv("EMBEDMILL_CACHE", "no")
    assert embedmill.embed("bread").shape == (8,)
    assert cached() == 0
    embedmill.embed("bread", cache=True)
    assert cached() == 1


def test_the_default_model(real_model: ModelFiles) -> None:
    assert embedmill.embed("Knead the dough.", cache=False).shape == (embedmill.DEFAULT_DIMENSION,)
    assert read_card(real_model).dimension == embedmill.DEFAULT_DIMENSION
    assert real_model.name.endswith(embedmill.DEFAULT_MODEL)


def test_texts_without_a_vector() -> None:
    with pytest.raises(ValueError, match="there are no texts"):
        embedmill.embed([], model=SMALL)
    for texts in ("", " \n", ["bread", ""]):
        with pytest.raises(embedmill.EmbeddingError, match="EmptyText: the text is empty or blank") as caught:
            embedmill.embed(texts, model=SMALL)  # type: ignore[arg-type]
    assert list(caught.value.causes) == [1] and caught.value.vectors.shape == (2, 32)


@pytest.mark.parametrize("texts", [None, 3, b"x", {"a": "b"}, {"a set"}, ["a", None], ["a", 3]])
def test_what_are_no_texts(texts: Any) -> None:
    with pytest.raises(TypeError):
        embedmill.embed(texts, model=SMALL)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "queries"}, "task is 'queries'"),
        ({"cache": "maybe"}, "cache is 'maybe': give True or False"),
        ({"model": ""}, "--model: '' does not fit"),
        ({"precision": "f8"}, "--precision: 'f8' does not fit"),
        ({"model": "test:8", "precision": "bf16"}, "test:8 computes in f32"),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(embedmill.UsageError) as caught:
        embedmill.embed("bread", **({"model": SMALL} | options))
    assert said in str(caught.value)


def test_what_is_told_has_to_be_a_function() -> None:
    with pytest.raises(embedmill.UsageError, match="cache is 'yes': give True or False"):
        embedmill.embed("a", model="test:8", cache="yes")  # type: ignore[call-overload]
    for make in (embedmill.ThreadExecutor, embedmill.worker_factory, lambda odd: embedmill.FileSource([odd])):
        with pytest.raises(embedmill.UsageError, match=r"^(embedder is|model is|paths has) 3: give "):
            make(3)
    with pytest.raises(embedmill.UsageError, match="on_progress is 4: give a function, or leave it out"):
        embedmill.embed("bread", model=SMALL, on_progress=4)  # type: ignore[call-overload]
    assert cached() == 0


def test_several_threads_at_once() -> None:
    texts = [f"text {number}" for number in range(60)]
    found: dict[int, embedmill.EmbeddingMatrix] = {}

    def run(number: int) -> None:
        found[number] = embedmill.embed(texts[number:] + texts[:number], model=SMALL, precision="f32")

    threads = [threading.Thread(target=run, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        np.testing.assert_allclose(np.roll(found[number], number, axis=0), found[0], atol=2e-6)


def test_a_users_program_runs() -> None:
    program = ROOT / "tests" / "programs" / "front_door.py"
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "0 of 2" and lines[-2:] == ["['Knead the dough.']", "files"]


def test_a_users_program_is_fully_typed() -> None:
    pytest.importorskip("mypy")
    program = ROOT / "tests" / "programs" / "front_door.py"
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program)]
    done = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
