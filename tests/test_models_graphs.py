"""Ready graphs, ONNX and OpenVINO: which output counts, what they must take, where their weights lie."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as op

from embedmill.core.errors import EmbeddingError, ModelError, UnsupportedModel
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.models import locate, read_card, weights_sha256
from embedmill.models.onnx import external_files
from samples import asked_of_all, vectors_of_all

MODELS = Path(__file__).parent / "fixtures" / "models"
NAME = "last_hidden_state"


def load(folder: Path) -> OpenVINOEmbedder:
    return OpenVINOEmbedder(folder.name, read_card(locate(str(folder))), precision="f32", streams=1, threads=1)


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def copy(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(MODELS / name, folder))


def as_openvino(name: str, folder: Path) -> Path:
    """The same model with its ONNX graph as OpenVINO's own format."""
    copy(name, folder)
    (folder / "openvino").mkdir()
    ov.save_model(ov.Core().read_model(folder / "onnx/model.onnx"), folder / "openvino/openvino_model.xml")
    shutil.rmtree(folder / "onnx")
    return folder


def with_graph(folder: Path, outputs: Callable[[Any, Any], Sequence[Any]], *, masked: bool = True) -> Path:
    """A model whose graph gives these outputs for ids and mask; each is an output with its names set."""
    copy("bert-onnx-f16", folder)
    shutil.rmtree(folder / "onnx")
    (folder / "openvino").mkdir()
    inputs = [op.parameter(ov.PartialShape([-1, -1]), ov.Type.i64) for _ in range(2)]
    for parameter, name in zip(inputs, ("input_ids", "attention_mask"), strict=True):
        parameter.output(0).set_names({name})
    results = [op.result(output) for output in outputs(*inputs)]
    ov.save_model(ov.Model(results, inputs if masked else inputs[:1]), folder / "openvino/openvino_model.xml")
    return folder


def hidden(ids: Any, width: int, name: str, factor: float = 1) -> Any:
    """(batch, tokens, width): the token's id times `factor`, and a little more in each column."""
    column = op.unsqueeze(op.convert(ids, ov.Type.f32), op.constant([2]))
    node = op.multiply(column, op.constant(factor * np.linspace(1, 2, width, dtype=np.float32).reshape(1, 1, width)))
    if name:
        node.output(0).set_names({name})
    return node


# Padding and the table of positions


@pytest.mark.parametrize("name", ["bert-40-positions", "mpnet-40-positions", "roberta-onnx", "roberta-openvino"])
def test_padding_does_not_reach_beyond_the_table_of_positions(name: str, tmp_path: Path) -> None:
    """Flaw: texts of 33 tokens or more were padded to 48, and a table of 40 positions has no more than that."""
    folder = as_openvino("roberta-onnx", tmp_path / name) if name == "roberta-openvino" else MODELS / name
    embedder = load(folder)
    texts = ["fox " * count for count in range(25, 45)]
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(embedder.embed(texts), alone, rtol=0, atol=2e-6)
    long = max(embedder.encode(texts), key=len)
    assert len(long) == embedder.max_tokens == (40 if name == "bert-40-positions" else 38)


@pytest.mark.parametrize("limit", [17, 33, 47])
def test_a_limit_may_be_any_number_of_tokens(limit: int, tmp_path: Path) -> None:
    folder = copy("bert-onnx", tmp_path / "model")
    change(folder / "tokenizer_config.json", model_max_length=limit)
    embedder = load(folder)
    assert np.isfinite(embedder.embed(["fox " * 100, "fox", "fox " * limit])).all()


# Which output counts


def test_the_last_hidden_state_is_taken_by_its_name(tmp_path: Path) -> None:
    """Flaw: the first output of three dimensions was taken."""
    both = with_graph(tmp_path / "both", lambda ids, _: [hidden(ids, 16, "states", -1), hidden(ids, 16, NAME)])
    one = with_graph(tmp_path / "one", lambda ids, _: [hidden(ids, 16, NAME)])
    np.testing.assert_array_equal(load(both).embed(["fox"]), load(one).embed(["fox"]))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda ids, _: [hidden(ids, 16, "hidden_states.0")], "no output 'last_hidden_state'.*hidden_states.0"),
        (lambda ids, _: [hidden(ids, 99, "logits")], "no output 'last_hidden_state'.*logits"),
        (lambda ids, _: [hidden(ids, 99, "last_hidden_state")], "must be .batch, tokens, 16., it is"),
        (lambda ids, _: [hidden(ids, 16, ""), hidden(ids, 16, "")], "no output 'last_hidden_state'"),
    ],
)
def test_a_graph_without_the_last_hidden_state_is_refused_at_once(outputs: Any, message: str, tmp_path: Path) -> None:
    """Flaw: a graph with logits failed every text by itself, with an error about shapes."""
    embedder = load(with_graph(tmp_path / "model", outputs))
    with pytest.raises(UnsupportedModel, match=message) as caught:
        embedder.load()
    assert "\n" not in str(caught.value)


def test_a_graph_without_an_attention_mask_is_refused(tmp_path: Path) -> None:
    """Flaw: with nothing said of padding, a text's vector depended on the texts beside it."""
    folder = with_graph(tmp_path / "model", lambda ids, _: [hidden(ids, 16, "last_hidden_state")], masked=False)
    with pytest.raises(UnsupportedModel, match="no input 'attention_mask'"):
        load(folder).load()


def test_a_graph_for_texts_of_one_shape_is_refused(tmp_path: Path) -> None:
    folder = as_openvino("bert-onnx-f16", tmp_path / "model")
    path = folder / "openvino/openvino_model.xml"
    graph = ov.Core().read_model(path)
    graph.reshape({each.any_name: [1, 8] for each in graph.inputs})
    ov.save_model(graph, folder / "fixed.xml")
    for suffix in (".xml", ".bin"):
        (folder / f"fixed{suffix}").replace(path.with_suffix(suffix))
    with pytest.raises(UnsupportedModel, match=r"of the shape \[1,8\] alone"):
        load(folder).load()


# Texts that have no vector


def test_a_text_without_tokens_is_its_own_failure(tmp_path: Path) -> None:
    """Flaw: a tokenizer without special tokens and an empty text gave an error from C++."""
    folder = copy("bert-mean", tmp_path / "model")
    change(folder / "tokenizer.json", post_processor=None)
    change(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    embedder = load(folder)
    assert embedder.embed(["fox"]).shape == (1, 32)
    _, causes = asked_of_all(embedder, [""])
    assert "the text has no tokens" in causes[0].message


@pytest.mark.parametrize("name", ["bert-mean", "bert-onnx"])
def test_a_token_beyond_the_vocabulary_is_noticed(name: str, tmp_path: Path) -> None:
    """Flaw: OpenVINO takes zeros for a row that the table of words does not have."""
    folder = copy(name, tmp_path / "model")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"]["fox"] = 5000
    path.write_text(json.dumps(tokenizer))
    embedder = load(folder)
    assert embedder.embed(["dog"]).shape == (1, 32)
    with pytest.raises(EmbeddingError, match=r"token 5000 is beyond the model.s vocabulary of 197"):
        embedder.embed(["fox"])


def test_a_graph_with_fewer_words_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = copy("bert-onnx", tmp_path / "model")
    change(folder / "config.json", vocab_size=198)
    with pytest.raises(ModelError, match=r"has 197 words, config\.json says 198"):
        load(folder).load()


# External data


def in_hub_cache(source: Path, folder: Path) -> Path:
    """The files as the hub's client keeps them: content under its digest, and links to it."""
    (folder / "blobs").mkdir(parents=True)
    for path in (each for each in source.rglob("*") if each.is_file()):
        blob = folder / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        link = folder / "snapshots" / "main" / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return folder / "snapshots" / "main"


def test_external_data_is_part_of_the_weights(tmp_path: Path) -> None:
    """Flaw: changed weights in a file of another name than the graph's got the old vectors from the cache."""
    folder = copy("bert-onnx-external", tmp_path / "model")
    card = read_card(locate(str(folder)))
    assert [path.name for path in card.weights.paths] == ["model.onnx", "weights.bin"]
    before = weights_sha256(card)
    path = folder / "onnx/weights.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert weights_sha256(read_card(locate(str(folder)))) != before


def test_external_data_is_read_from_a_hub_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flaw: OpenVINO refuses files that are links out of the graph's folder."""
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    folder = in_hub_cache(MODELS / "bert-onnx-external", tmp_path / "hub")
    texts = json.loads((MODELS / "bert-onnx-external/texts.json").read_text())["texts"]
    expected = np.load(MODELS / "bert-onnx-external/vectors.npy", allow_pickle=False)
    np.testing.assert_allclose(vectors_of_all(load(folder), texts), expected, rtol=0, atol=2e-5)
    assert not list((tmp_path / "cache").glob(".graph-*"))


@pytest.mark.parametrize(
    ("location", "message"),
    [(b"weights.bim", "weights.bim: missing"), (b"../ghts.bin", "leads out"), (b"/eights.bin", "leads out")],
)
def test_external_data_that_is_not_there_is_named(location: bytes, message: str, tmp_path: Path) -> None:
    folder = copy("bert-onnx-external", tmp_path / "model")
    path = folder / "onnx/model.onnx"
    path.write_bytes(path.read_bytes().replace(b"weights.bin", location))
    with pytest.raises(ModelError, match=message):
        read_card(locate(str(folder)))


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\0" * 1000, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0a\x00"]
)
def test_what_is_no_onnx_graph_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    folder = copy("bert-onnx", tmp_path / "model")
    (folder / "onnx/model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx: no ONNX graph") as caught:
        read_card(locate(str(folder)))
    assert "\n" not in str(caught.value)


def test_a_graph_of_millions_of_fields_is_given_up_on(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a\x02\x0a\x00" + b"\x08\x01" * 3_100_000)
    with pytest.raises(ModelError, match="more than 3000000 fields"):
        external_files(path)


def test_an_onnx_graph_without_external_data_names_none() -> None:
    assert external_files(MODELS / "bert-onnx/onnx/model.onnx") == ()
    assert external_files(MODELS / "bert-onnx-external/onnx/model.onnx") == ("weights.bin",)
