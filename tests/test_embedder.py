"""The OpenVINO embedder against vectors that sentence-transformers computed (scripts/make_model_fixtures.py)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedmill.core.errors import EmbeddingError, ModelError, UnsupportedModel
from embedmill.core.vectors import Batch, Cause, Vectors
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.models import ModelFiles, locate, read_card
from samples import copy_model, vectors_of_all

FIXTURES = Path(__file__).parent / "fixtures"
MODELS = sorted(folder.name for folder in (FIXTURES / "models").iterdir())


def cosines(ours: Vectors, theirs: Vectors) -> Vectors:
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    products = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return np.asarray(products)


def load(folder: Path, precision: str = "f32", **settings: int) -> OpenVINOEmbedder:
    return OpenVINOEmbedder(folder.name, read_card(locate(str(folder))), precision=precision, **settings)


@pytest.fixture(scope="module")
def real(real_model: ModelFiles) -> Iterator[OpenVINOEmbedder]:
    embedder = OpenVINOEmbedder(real_model.name, read_card(real_model), precision="f32")
    yield embedder
    embedder.close()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    found: list[str] = json.loads((FIXTURES / "references" / "all-MiniLM-L6-v2.json").read_text())["texts"]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_small_models_equal_sentence_transformers(name: str) -> None:
    folder = FIXTURES / "models" / name
    embedder = load(folder)
    texts = json.loads((folder / "texts.json").read_text())["texts"]
    expected = np.load(folder / "vectors.npy", allow_pickle=False)
    vectors = vectors_of_all(embedder, texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == expected.shape == (len(texts), embedder.dimension)
    exact = not name.endswith("-bf16")  # that graph computes in bf16 by itself, whatever is asked for
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=(2e-5 if exact else 0.01) * np.abs(expected).max())
    assert cosines(vectors, expected).min() > (0.999999 if exact else 0.9999)


@pytest.mark.parametrize("name", MODELS)
def test_special_tokens_in_a_text_are_as_sentence_transformers_has_them(name: str) -> None:
    """Flaw: MPNet gives no position to a padding token that is written in a text, and so moves all behind it."""
    folder = FIXTURES / "models" / name
    texts = json.loads((folder / "texts.json").read_text())["special"]
    expected = np.load(folder / "special.npy", allow_pickle=False)
    assert "x <mask> y <pad>" in texts
    assert cosines(load(folder).embed(texts), expected).min() > (0.9999 if name.endswith("-bf16") else 0.999999)


def test_a_query_has_its_own_prompt() -> None:
    folder = FIXTURES / "models" / "bert-prompts"
    texts = json.loads((folder / "texts.json").read_text())["texts"]
    embedder = load(folder)
    expected = np.load(folder / "queries.npy", allow_pickle=False)
    np.testing.assert_allclose(vectors_of_all(embedder, texts, "query"), expected, rtol=0, atol=2e-5)
    assert np.abs(vectors_of_all(embedder, texts) - expected).max() > 0.01


def test_the_real_model_equals_sentence_transformers(real: OpenVINOEmbedder, texts: list[str]) -> None:
    expected = np.load(FIXTURES / "references" / "all-MiniLM-L6-v2.npy", allow_pickle=False)
    assert cosines(vectors_of_all(real, texts), expected).min() >= 0.999999


def test_the_real_model_in_bf16(real_model: ModelFiles, texts: list[str]) -> None:
    """Where bf16 is emulated this is slow, and as precise."""
    expected = np.load(FIXTURES / "references" / "all-MiniLM-L6-v2.npy", allow_pickle=False)
    embedder = OpenVINOEmbedder(real_model.name, read_card(real_model), precision="bf16")
    assert cosines(vectors_of_all(embedder, texts), expected).min() >= 0.9999
    assert embedder.fingerprint.space == load(real_model.folder).fingerprint.space
    assert embedder.fingerprint.key.endswith("-bf16")


def test_rows_come_in_the_order_of_the_texts(real: OpenVINOEmbedder, texts: list[str]) -> None:
    """Batches are by length, in several threads: rows must not follow the order of completion."""
    many = [text for text in texts if len(text) < 2000] * 4
    order = np.random.default_rng(7).permutation(len(many))
    straight = vectors_of_all(real, many)
    shuffled = vectors_of_all(real, [many[row] for row in order])
    np.testing.assert_allclose(shuffled, straight[order], rtol=0, atol=2e-6)


def test_a_vector_does_not_depend_on_its_neighbours(real: OpenVINOEmbedder) -> None:
    texts = [f"sentence number {number} of a few words" for number in range(40)]
    alone = np.concatenate([real.embed([text]) for text in texts])
    np.testing.assert_allclose(real.embed(texts), alone, rtol=0, atol=2e-6)


def test_two_callers_at_once_get_their_own_rows(real: OpenVINOEmbedder, texts: list[str]) -> None:
    """findings 1: one pool's callers get each other's rows."""
    halves = [[text for text in texts if len(text) < 2000][start::2] * 3 for start in (0, 1)]
    expected = [vectors_of_all(real, half) for half in halves]
    found: dict[int, Vectors] = {}
    threads = [
        threading.Thread(target=lambda index=index: found.update({index: vectors_of_all(real, halves[index])}))
        for index in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in (0, 1):
        np.testing.assert_allclose(found[index], expected[index], rtol=0, atol=2e-6)


@pytest.mark.parametrize("wrong", ["one text", [None], [b"bytes"]])
def test_only_a_list_of_texts_is_taken(real: OpenVINOEmbedder, wrong: Any) -> None:
    with pytest.raises(TypeError, match="a list of texts"):
        real.embed(wrong)


def test_no_texts_are_an_error_and_blank_ones_fail_with_their_number(real: OpenVINOEmbedder) -> None:
    with pytest.raises(ValueError, match="there are no texts"):
        real.embed([])
    assert list(real.embed_iter([])) == []
    with pytest.raises(EmbeddingError, match="2 of 3 texts have no vector, the first of them text 1: EmptyText") as e:
        real.embed(["bread", "", " \n"])
    assert list(e.value.causes) == [1, 2] and np.isfinite(e.value.vectors[0]).all()
    failed: dict[int, Cause] = {}
    assert len(list(real.embed_iter(["bread", ""], on_failure=failed.__setitem__))) == 2 and list(failed) == [1]


def test_lone_surrogates_and_nul_are_embedded(real: OpenVINOEmbedder) -> None:
    vectors = vectors_of_all(real, ["a lone \ud800 surrogate", "a NUL \0 character", ""])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_batch_of_several_lengths_keeps_its_rows(real: OpenVINOEmbedder) -> None:
    texts = ["one", "a longer text than one", "two", "something rather different in length again", "six"]
    batch = Batch(tuple(texts), tuple(real.encode(texts)))
    np.testing.assert_allclose(real.infer(batch), real.embed(texts), rtol=0, atol=2e-6)


def test_the_model_is_loaded_only_when_it_is_called(real_model: ModelFiles) -> None:
    embedder = OpenVINOEmbedder(real_model.name, read_card(real_model), precision="f32", streams=1, threads=1)
    assert embedder.fingerprint.space.dimension == embedder.dimension == 384
    assert embedder.max_tokens == 256
    assert [len(ids) for ids in embedder.encode(["hello world", "word " * 1000])] == [4, 256]
    assert not embedder.loaded
    embedder.embed(["hello"])
    assert embedder.loaded
    embedder.close()
    embedder.close()
    assert not embedder.loaded


def test_shards_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = copy_model(FIXTURES / "models" / "bert-mean", tmp_path / "mixed")
    config = json.loads((folder / "config.json").read_text())
    config["intermediate_size"] += 8
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"intermediate.dense.weight.* has shape"):
        load(folder).embed(["x"])


def test_an_unknown_activation_is_named(tmp_path: Path) -> None:
    folder = copy_model(FIXTURES / "models" / "bert-mean", tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    config["hidden_act"] = "mish"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModel, match="mish"):
        load(folder).embed(["x"])
