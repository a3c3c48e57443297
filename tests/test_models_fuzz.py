"""Damaged and hostile model files: each gives vectors or one line, quickly, and other vectors only in another space.

The damages are drawn from a fixed seed: each run tries the same ones, with EMBEDMILL_FUZZ=N N times as many.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedmill.core.errors import EmbedmillError
from embedmill.core.vectors import Vectors
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.models import locate, read_card

MODELS = Path(__file__).parent / "fixtures" / "models"
TIMES = int(os.environ.get("EMBEDMILL_FUZZ", "1"))
TEXTS = ["The quick brown fox", "x " * 100]
SLOW = 20  # seconds of processor time; the slowest is below 2

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 10**6, 2**31, 2**63, 10**30, 1e308, -0.5, 0.5, float("nan")),
    *("", "x", "a" * 5000, "\0", "é", "../x", [], [1], ["x"], [[]], [None], {}, {"x": 1}, {"content": 1}),
]
"""What is put in the place of every value of every JSON file."""

FOLDERS = ["bert-max-dense", "roberta-onnx", "bert-onnx-external"]


def embedded(folder: Path) -> tuple[str, Vectors]:
    """The fingerprint, and the vectors of some texts."""
    embedder = OpenVINOEmbedder("model", read_card(locate(str(folder))), precision="f32", streams=1, threads=1)
    return embedder.fingerprint.key, embedder.embed(TEXTS)


def check(folder: Path, sound: tuple[str, Vectors], what: object) -> None:
    """Vectors as before, or of another space, or an error of ours on one line."""
    start = time.process_time()
    try:
        key, vectors = embedded(folder)
    except EmbedmillError as error:
        assert "\n" not in str(error), what
        assert len(str(error)) < 3000, what
    except BaseException as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    else:
        assert np.isfinite(vectors).all(), what
        same = vectors.shape == sound[1].shape and np.allclose(vectors, sound[1], rtol=0, atol=1e-4)
        assert same or key != sound[0], f"{what}: other vectors in silence"
    assert time.process_time() - start < SLOW, what


@pytest.fixture(params=FOLDERS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model's files alone, to be damaged."""
    beside = shutil.ignore_patterns("*.npy", "texts.json")
    return Path(shutil.copytree(MODELS / request.param, tmp_path / "model", ignore=beside))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value within a JSON value; of long ones, some."""
    yield path
    if isinstance(value, dict | list):
        for name in list(value if isinstance(value, dict) else range(len(value)))[:40]:
            yield from places(value[name], (*path, name))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The JSON value with another at this path; `...` takes it out."""
    if not path:
        return None if new is ... else new
    *before, last = path
    within = value
    for name in before:
        within = within[name]
    if new is ...:
        del within[last]
    else:
        within[last] = new
    return value


def test_wrong_types_in_every_json_file(model: Path) -> None:
    chance = random.Random(17)
    sound = embedded(model)
    files = sorted(model.rglob("*.json"))
    for path in files:
        whole = path.read_text()
        found = list(places(json.loads(whole)))
        for place in chance.sample(found, min(len(found), 4 * TIMES)):
            new = ... if chance.random() < 0.15 else chance.choice(VALUES)
            path.write_text(json.dumps(put(json.loads(whole), place, new)))
            check(model, sound, (path.name, place, new))
        path.write_text(whole)


def test_other_bytes_in_every_file(model: Path) -> None:
    chance = random.Random(17)
    sound = embedded(model)
    for path in sorted(each for each in model.rglob("*") if each.is_file()):
        whole = path.read_bytes()
        for _ in range(3 * TIMES):
            content, at = bytearray(whole), chance.randrange(min(len(whole), chance.choice([400, 4000, 1 << 20])))
            match chance.choice(["flip", "flip", "cut", "zero", "insert"]):
                case "flip":
                    content[at] ^= 1 << chance.randrange(8)
                case "cut":
                    del content[at:]
                case "zero":
                    content[at : at + 16] = bytes(len(content[at : at + 16]))
                case _:
                    content[at:at] = chance.randbytes(4)
            path.write_bytes(content)
            check(model, sound, (path.name, at))
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "vocabulary",
    [{}, {"[CLS]": 0}, {"fox": 2**31}, {"fox": -1}, {"fox": "1"}, [], None],
    ids=["empty", "one", "large", "negative", "text", "list", "null"],
)
def test_a_hostile_vocabulary(vocabulary: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MODELS / "bert-40-positions", tmp_path / "model"))
    sound = embedded(folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"] = vocabulary
    path.write_text(json.dumps(tokenizer))
    check(folder, sound, vocabulary)
    path.unlink()
    (folder / "vocab.txt").write_text("")
    with pytest.raises(EmbedmillError, match=r"vocab\.txt"):
        embedded(folder)


@pytest.mark.parametrize("table", ["", "AAAA", "BAAAAAAAAAD/", "////f2Fi", "no base64!"])
def test_a_damaged_table_of_replacements_does_not_panic(
    table: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(MODELS / "roberta-onnx", tmp_path / "model"))
    path = folder / "tokenizer.json"
    normalizer = {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": table}]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": normalizer}))
    with pytest.raises(EmbedmillError, match=r"tokenizer\.json: cannot be read"):
        embedded(folder)
    assert "panicked" not in capfd.readouterr().err


@pytest.mark.parametrize("number", [5000, 2**31])
def test_a_special_token_beyond_the_vocabulary_is_noticed_at_once(number: int, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MODELS / "bert-40-positions", tmp_path / "model"))
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [number]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(EmbedmillError, match="beyond the model's vocabulary"):
        embedded(folder)


def test_a_frame_that_is_not_defined_does_not_panic(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Flaw: tokenizers panics, which is no `Exception`, and a traceback was all that the user saw."""
    folder = Path(shutil.copytree(MODELS / "bert-40-positions", tmp_path / "model"))
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["post_processor"]["special_tokens"] = {}
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(EmbedmillError, match=r"tokenizer\.json: cannot be read .*\[CLS\].* is not defined"):
        embedded(folder)
    assert "panicked" not in capfd.readouterr().err
