"""Cards: what the files say, in all layouts, and refusals that name the file and the field."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models import Card, ModelFiles, read_card, tokenizer_sha256, weights_sha256
from embedmill.models.digest import file_sha256

MODELS = Path(__file__).parent / "fixtures" / "models"


def card_of(folder: Path) -> Card:
    return read_card(ModelFiles(str(folder), folder, "path"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of a model that a test may damage."""
    return Path(shutil.copytree(MODELS / "bert-mean", tmp_path / "model"))


def change(path: Path, **fields: Any) -> None:
    """Set fields of a JSON file; `...` takes one out."""
    values = json.loads(path.read_text()) if path.exists() else {}
    values.update(fields)
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))


# name: pooling, dense layers (out, activation), normalised, max_tokens, weights
EXPECTED = {
    "bert-mean": (("mean",), [], True, 48, "safetensors"),
    "bert-cls": (("cls",), [], True, 48, "safetensors"),
    "bert-max-dense": (("max",), [(24, "tanh")], False, 48, "safetensors"),
    "bert-mean-dense-identity": (("mean",), [(40, "identity")], True, 48, "safetensors"),
    "bert-last": (("last",), [], True, 48, "safetensors"),
    "bert-prompts": (("mean",), [], True, 48, "safetensors"),
    "bert-gelu-new": (("mean",), [], True, 48, "safetensors"),
    "bert-relu": (("mean",), [], False, 48, "safetensors"),
    "bert-old-layout": (("cls", "mean"), [], True, 24, "safetensors"),
    "bert-f16": (("mean",), [], True, 48, "safetensors"),
    "bert-sharded": (("mean",), [], True, 48, "safetensors"),
    "bert-plain": (("mean",), [], False, 48, "safetensors"),
    "mpnet-mean": (("mean",), [], True, 48, "safetensors"),
    "bert-onnx": (("mean",), [], True, 48, "onnx"),
    "bert-openvino": (("mean",), [], True, 48, "openvino"),
    "bert-40-positions": (("mean",), [], True, 40, "safetensors"),
    "mpnet-40-positions": (("mean",), [], True, 38, "safetensors"),
    "roberta-onnx": (("mean",), [], True, 38, "onnx"),
    "bert-onnx-f16": (("mean",), [], True, 48, "onnx"),
    "bert-onnx-bf16": (("mean",), [], True, 48, "onnx"),
    "bert-onnx-external": (("mean",), [], True, 48, "onnx"),
    "bert-onnx-states": (("mean",), [], True, 48, "onnx"),
}


def test_every_fixture_has_an_expectation() -> None:
    assert {path.name for path in MODELS.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_card_says_what_the_model_was_made_as(name: str) -> None:
    card = card_of(MODELS / name)
    pooling, dense, normalize, max_tokens, weights = EXPECTED[name]
    assert card.pooling == pooling
    assert [(layer.out_features, layer.activation) for layer in card.dense] == dense
    assert card.normalize is normalize
    assert card.max_tokens == max_tokens
    assert card.weights.kind == weights
    assert all(path.is_file() for path in card.weights.paths)
    assert card.dimension == np.load(MODELS / name / "vectors.npy", allow_pickle=False).shape[1]


def test_the_transformer_s_numbers_are_read() -> None:
    bert, mpnet = card_of(MODELS / "bert-relu").transformer, card_of(MODELS / "mpnet-mean").transformer
    assert bert is not None
    assert mpnet is not None
    assert (bert.layers, bert.heads, bert.activation, bert.type_vocab_size) == (3, 2, "relu", 2)
    assert (mpnet.relative_buckets, mpnet.pad_token_id, mpnet.type_vocab_size) == (32, 1, 0)


def test_shards_are_listed_in_full() -> None:
    paths = card_of(MODELS / "bert-sharded").weights.paths
    assert {path.name for path in paths} == {path.name for path in (MODELS / "bert-sharded").glob("*.safetensors")}
    assert len(paths) > 1


def test_the_real_model_s_card(real_model: ModelFiles) -> None:
    """Flaw: the packaged tokenizer.json says 128 tokens; the model's own limit is 256."""
    card = read_card(real_model)
    assert (card.max_tokens, card.dimension, card.pooling, card.normalize) == (256, 384, ("mean",), True)
    assert card.architecture == "BertModel"


def test_a_plain_transformer_is_pooled_by_the_mean_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        card_of(MODELS / "bert-plain")
    assert "no modules.json: mean pooling" in caplog.text


# Prompts


@pytest.mark.parametrize(
    ("prompts", "default", "document", "query"),
    [
        ({}, None, "", ""),
        ({"query": "q: ", "passage": "p: "}, None, "p: ", "q: "),
        ({"query": "q: ", "document": "", "passage": "p: "}, None, "p: ", "q: "),
        ({"query": "q: ", "document": None}, None, "", "q: "),
        ({"both": "b: "}, "both", "b: ", "b: "),
        ({"both": "b: ", "query": "", "document": ""}, "both", "", ""),
    ],
)
def test_prompts(model: Path, prompts: Any, default: str | None, document: str, query: str) -> None:
    change(model / "config_sentence_transformers.json", prompts=prompts, default_prompt_name=default)
    card = card_of(model)
    assert (card.prompt("document"), card.prompt("query")) == (document, query)


# Limits


@pytest.mark.parametrize(
    ("length", "tokenizer", "positions", "expected"),
    [
        ({"max_seq_length": 20}, 48, 64, 20),  # the model's own goes first
        ({"max_seq_length": 60}, 48, 64, 60),  # even where the tokenizer's is smaller
        ({"max_seq_length": 600}, 48, 64, 64),  # never beyond the table of positions
        ({"processor_kwargs": {"model_max_length": 30}}, 48, 64, 30),
        ({"tokenizer_args": {"model_max_length": 31}}, 48, 64, 31),
        ({}, 10**30, 64, 64),  # transformers' way to say "no limit"
        ({}, 1e30, 64, 64),
        ({}, ..., 64, 64),
    ],
)
def test_the_limit(model: Path, length: dict[str, Any], tokenizer: Any, positions: int, expected: int) -> None:
    change(model / "sentence_bert_config.json", **length)
    change(model / "tokenizer_config.json", model_max_length=tokenizer)
    change(model / "config.json", max_position_embeddings=positions)
    assert card_of(model).max_tokens == expected


def test_mpnet_cannot_use_the_positions_up_to_its_padding(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODELS / "mpnet-mean", tmp_path / "model"))
    change(model / "tokenizer_config.json", model_max_length=512)
    assert card_of(model).max_tokens == 64  # of 66 positions


# Refusals


def refusal(model: Path, kind: type[ModelError] = UnsupportedModel) -> str:
    with pytest.raises(kind) as caught:
        card_of(model)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_unknown_architecture_is_refused_by_name(model: Path) -> None:
    change(model / "config.json", architectures=["LlamaModel"])
    assert "LlamaModel" in refusal(model)


def test_an_unknown_architecture_with_a_ready_graph_is_taken(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODELS / "bert-onnx", tmp_path / "model"))
    change(model / "config.json", architectures=["NovelModel"], auto_map={"AutoModel": "code.NovelModel"})
    card = card_of(model)
    assert (card.architecture, card.transformer, card.weights.kind) == ("NovelModel", None, "onnx")


def test_code_from_the_repository_is_never_wanted(model: Path) -> None:
    change(model / "config.json", auto_map={"AutoModel": "modeling.BertModel"})
    assert "never run here" in refusal(model)


def test_modules_from_the_repository_are_never_wanted(model: Path) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules[0]["type"] = "custom_st.Transformer"
    (model / "modules.json").write_text(json.dumps(modules))
    assert "custom_st.Transformer" in refusal(model)


def test_an_unknown_module_is_named(model: Path) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["type"] = "sentence_transformers.models.WeightedLayerPooling"
    (model / "modules.json").write_text(json.dumps(modules))
    assert "WeightedLayerPooling" in refusal(model)


@pytest.mark.parametrize("mode", ["weightedmean", "mean_sqrt_len_tokens", "nonsense"])
def test_unsupported_pooling_is_named(model: Path, mode: str) -> None:
    change(model / "1_Pooling" / "config.json", pooling_mode=mode)
    assert mode in refusal(model)


def test_pooling_without_the_prompt_is_refused_only_where_there_is_a_prompt(model: Path) -> None:
    change(model / "1_Pooling" / "config.json", include_prompt=False)
    card_of(model)
    change(model / "config_sentence_transformers.json", prompts={"query": "q: "})
    assert "prompt" in refusal(model)


@pytest.mark.parametrize("kind", ["CrossEncoder", "SparseEncoder"])
def test_other_kinds_of_model_are_refused(model: Path, kind: str) -> None:
    change(model / "config_sentence_transformers.json", model_type=kind)
    assert kind in refusal(model)


def test_a_reranker_without_modules_is_refused(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODELS / "bert-plain", tmp_path / "model"))
    change(model / "config.json", architectures=["BertForSequenceClassification"])
    assert "reranker" in refusal(model)


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("config.json", "hidden_size", "32"),
        ("config.json", "hidden_size", True),
        ("config.json", "hidden_size", -32),
        ("config.json", "hidden_size", ...),
        ("config.json", "num_hidden_layers", 10**9),
        ("config.json", "num_attention_heads", 5),
        ("config.json", "layer_norm_eps", "small"),
        ("config.json", "layer_norm_eps", float("nan")),
        ("config.json", "architectures", "BertModel"),
        ("config.json", "architectures", [None]),
        ("config.json", "is_decoder", "no"),
        ("config.json", "pad_token_id", 10_000),
        ("config.json", "max_position_embeddings", 0),
        ("1_Pooling/config.json", "embedding_dimension", 33),
        ("1_Pooling/config.json", "pooling_mode", {"mean": True}),
        ("config_sentence_transformers.json", "prompts", ["query"]),
        ("config_sentence_transformers.json", "prompts", {"query": 7}),
        ("tokenizer_config.json", "model_max_length", "512"),
        ("sentence_bert_config.json", "max_seq_length", [256]),
    ],
)
def test_wrong_values_name_the_file_and_the_field(model: Path, file: str, field: str, value: Any) -> None:
    change(model / file, **{field: value})
    message = refusal(model, ModelError)
    assert file in message
    assert field in message or (isinstance(value, dict) and next(iter(value)) in message)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, "\xff"])
def test_damaged_json_names_the_file(model: Path, content: str) -> None:
    (model / "config.json").write_bytes(content.encode("latin-1"))
    assert "config.json" in refusal(model, ModelError)


@pytest.mark.parametrize("path", ["../../etc", "/etc", "a/../../b", "..\\b"])
def test_a_module_s_path_stays_in_the_folder(model: Path, path: str) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["path"] = path
    (model / "modules.json").write_text(json.dumps(modules))
    assert "leads out" in refusal(model, ModelError)


def test_a_dense_layer_must_fit_what_comes_before(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODELS / "bert-max-dense", tmp_path / "model"))
    change(model / "2_Dense" / "config.json", in_features=64)
    assert "in_features" in refusal(model, ModelError)
    change(model / "2_Dense" / "config.json", in_features=32, activation_function="os.system")
    assert "os.system" in refusal(model)


# Incomplete and damaged files


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"])
def test_what_is_missing_is_named(model: Path, name: str) -> None:
    (model / name).unlink()
    message = refusal(model, ModelError)
    assert name.rpartition("/")[2] in message
    assert "missing" in message


def test_pickled_weights_are_not_read(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "pickled" in refusal(model, ModelError)


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 5000, -1])
def test_truncated_weights_are_noticed(model: Path, keep: int) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    message = refusal(model, ModelError)
    assert "model.safetensors" in message
    assert "fetch it again" in message


def test_truncated_weights_say_how_much_is_there(model: Path) -> None:
    path = model / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    assert f"truncated: expected {len(whole)} bytes, has {len(whole) - 1000}" in refusal(model, ModelError)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODELS / "bert-sharded", tmp_path / "model"))
    (model / "model-00002-of-00003.safetensors").unlink()
    assert "model-00002-of-00003.safetensors" in refusal(model, ModelError)


def test_a_shard_s_path_stays_in_the_folder(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODELS / "bert-sharded", tmp_path / "model"))
    change(model / "model.safetensors.index.json", weight_map={"x": "../../secret.safetensors"})
    assert "leads out" in refusal(model, ModelError)


def write_safetensors(path: Path, header: Any, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def entry(first: int, last: int, shape: Any = (2,)) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [first, last]}


HEADERS: dict[str, tuple[Any, bytes, str]] = {
    "tensors that overlap": ({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12), "does not begin where"),
    "a hole": ({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20), "does not begin where"),
    "many keys": ({str(n): entry(0, 0, ()) for n in range(60_000)}, b"", "60000 tensors"),
    "a long header": (b" " * (17 << 20), b"", "no safetensors file, or a damaged one"),
    "a huge axis": ({"a": entry(0, 8, (10**30,))}, bytes(8), "header is damaged"),
    "many axes": ({"a": entry(0, 8, (1,) * 100)}, bytes(8), "header is damaged"),
    "a name twice": (b'{"a": 1, "a": 1}', b"", "header is damaged"),
    "a huge place": ({"a": entry(0, 1 << 63)}, bytes(8), "header is damaged"),
    "true for a number": ({"a": entry(0, 4, (True,))}, bytes(4), "header is damaged"),
}


@pytest.mark.parametrize("flaw", HEADERS)
def test_a_hostile_header_is_refused_in_one_line(model: Path, flaw: str) -> None:
    """Flaw: tensors that overlap were accepted, and a header of a million keys took 25 seconds."""
    header, data, message = HEADERS[flaw]
    write_safetensors(model / "model.safetensors", header, data)
    assert message in refusal(model, ModelError)


@pytest.mark.parametrize("place", ["root", "transformer"])
def test_an_adapter_beside_the_weights_is_refused(model: Path, place: str) -> None:
    """Flaw: it was passed over, and the vectors were those of the weights without it."""
    folder = model
    if place == "transformer":
        folder = model / "0_Transformer"
        folder.mkdir()
        modules = json.loads((model / "modules.json").read_text())
        modules[0]["path"] = "0_Transformer"
        (model / "modules.json").write_text(json.dumps(modules))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    assert "merge" in refusal(model)


@pytest.mark.parametrize(
    ("kind", "architecture"), [("qwen3", "Qwen3Model"), ("gpt2", "GPT2Model"), ("gemma3_text", "Gemma3TextModel")]
)
def test_a_decoder_without_modules_has_no_known_pooling(tmp_path: Path, kind: str, architecture: str) -> None:
    """Flaw: its tokens' mean was taken, which is what none of them was made for."""
    model = Path(shutil.copytree(MODELS / "bert-onnx", tmp_path / "model"))
    change(model / "config.json", model_type=kind, architectures=[architecture])
    card_of(model)
    (model / "modules.json").unlink()
    shutil.rmtree(model / "1_Pooling")
    assert architecture in refusal(model)


def test_a_pooling_s_folder_without_modules_is_no_plain_transformer(model: Path) -> None:
    (model / "modules.json").unlink()
    assert "modules.json is missing, and 1_Pooling is there" in refusal(model, ModelError)


def test_a_decoder_is_refused_by_name(model: Path) -> None:
    """Flaw: "'hidden_size' is missing: the model's files are incomplete"."""
    change(model / "config.json", architectures=["GPT2Model"], model_type="gpt2", n_embd=32, hidden_size=...)
    assert "GPT2Model is not covered" in refusal(model)


def test_the_numbers_of_another_family_are_found_under_its_names(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODELS / "bert-onnx", tmp_path / "model"))
    change(model / "config.json", architectures=["GPT2Model"], model_type="gpt2", n_embd=32, hidden_size=...)
    change(model / "config.json", n_positions=30, max_position_embeddings=...)
    card = card_of(model)
    assert (card.dimension, card.max_tokens) == (32, 30)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("modality_config", {"text": {"method": "forward", "method_output_name": "pooler_output"}}),
        ("modality_config", {"text": {"method": "get_text_features", "method_output_name": "last_hidden_state"}}),
        ("processing_kwargs", {"text": {"padding": "max_length"}}),
        ("model_args", {"num_hidden_layers": 1}),
        ("config_kwargs", {"hidden_act": "relu"}),
        ("query_length", 32),
    ],
)
def test_other_uses_of_the_transformer_are_refused(model: Path, field: str, value: Any) -> None:
    change(model / "sentence_bert_config.json", **{field: value})
    assert "not supported" in refusal(model)


def test_settings_that_change_no_vector_are_accepted(model: Path) -> None:
    change(model / "sentence_bert_config.json", model_args={"attn_implementation": "sdpa", "torch_dtype": "float16"})
    card_of(model)


@pytest.mark.parametrize("field", ["quantization_config", "pruned_heads"])
def test_changed_weights_are_refused(model: Path, field: str) -> None:
    change(model / "config.json", **{field: {"0": [1]}})
    refusal(model)


@pytest.mark.parametrize("similarity", ["manhattan", "maxsim", 7])
def test_a_similarity_that_no_search_computes_is_refused(model: Path, similarity: Any) -> None:
    change(model / "config_sentence_transformers.json", similarity_fn_name=similarity)
    assert str(similarity) in refusal(model, ModelError)


@pytest.mark.parametrize("name", ["modules.json", "sentence_bert_config.json", "special_tokens_map.json"])
def test_what_is_no_file_is_not_waited_for(model: Path, name: str) -> None:
    """A pipe would be read for ever."""
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    with pytest.raises(ModelError, match=rf"{name}: is no regular file"):
        tokenizer_sha256(card_of(model))


# The space


def test_a_renamed_model_keeps_its_space_and_another_model_has_another(tmp_path: Path) -> None:
    """Flaw 13: two models of one dimension share an index; a renamed model re-embeds everything."""
    renamed = Path(shutil.copytree(MODELS / "bert-mean", tmp_path / "renamed"))

    def space(folder: Path) -> str:
        card = card_of(folder)
        return card.space(weights_sha256(card), "t" * 64).id

    assert space(renamed) == space(MODELS / "bert-mean")
    others = [space(MODELS / name) for name in EXPECTED]
    assert len(set(others)) == len(EXPECTED)


def test_settings_that_change_the_vectors_change_the_digest(model: Path) -> None:
    before = weights_sha256(card_of(model))
    change(model / "config.json", num_attention_heads=2)
    assert weights_sha256(card_of(model)) != before


def test_the_prompt_for_documents_is_part_of_the_space() -> None:
    card = card_of(MODELS / "bert-prompts")
    assert card.space("w", "t").prompt == "search document: "
    assert card.prompt("query") == "search query: "


# Digests


def test_a_digest_is_remembered_and_notices_every_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "weights"
    path.write_bytes(b"a" * (2 << 20))
    first = file_sha256(path)
    memo = tmp_path / "cache" / "digests.json"
    entry = json.loads(memo.read_text())
    assert list(entry) == [str(path)]
    memo.write_text(json.dumps({str(path): [*entry[str(path)][:-1], "0" * 64]}))
    assert file_sha256(path) == "0" * 64  # it is the memo that answers
    path.write_bytes(b"b" * (2 << 20))
    assert file_sha256(path) not in (first, "0" * 64)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"x": 1}', '{"x": ["1", "2"]}', "\xff\xfe"])
def test_a_damaged_memo_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path))
    path = tmp_path / "weights"
    path.write_bytes(b"a" * (2 << 20))
    expected = file_sha256(path)
    (tmp_path / "digests.json").write_bytes(damage.encode("latin-1"))
    assert file_sha256(path) == expected
    assert str(path) in json.loads((tmp_path / "digests.json").read_text())


def test_an_unwritable_cache_folder_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "file" / "below"))
    path = tmp_path / "weights"
    path.write_bytes(b"a" * (2 << 20))
    assert len(file_sha256(path)) == 64


def test_a_file_that_the_machine_does_not_give_is_not_to_be_fetched_again(model: Path) -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
    try:
        with pytest.raises(ModelError, match=r"Too many open files\): raise the limit of open files \(ulimit -n\)$"):
            card_of(model)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
