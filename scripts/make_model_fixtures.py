"""Make the small models and the reference vectors that the tests compare with.

Run by hand, whenever a fixture is added, in an environment of its own that has torch:

    pip install sentence-transformers "optimum-intel[openvino]" onnx
    python scripts/make_model_fixtures.py tests/fixtures path/to/all-MiniLM-L6-v2

The first argument is the folder to write into, the second a folder with the files of the real model
(``embedmill models`` shows where they are). Each model is tiny, random and seeded, with weights large enough
that a wrong step shows, and saved by sentence-transformers' own `save`. Beside it:

- ``texts.json``     the texts, and for each its token ids from transformers' own tokenizer, special tokens
                     included, cut to the model's limit
- ``vectors.npy``    float32 (texts, dimension): sentence-transformers, f32, one text at a time
- ``special.npy``    vectors of further texts, in which special tokens are written, and odd spaces
- ``queries.npy``    the same texts embedded as queries, where the model has prompts

Under ``tokenizers/`` lie tokenizers alone, each with settings that its tokenizer.json does not carry, and

- ``ids.json``       texts, and their token ids from transformers

Reference vectors of the real model go to ``references/``. With the same versions each run gives the same.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    DebertaTokenizer,
    DebertaV2Tokenizer,
    MPNetConfig,
    MPNetModel,
    MPNetTokenizer,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

LIMIT = 48  # tokens, so that one of the texts is over-long

TEXTS = [
    "",
    " ",
    "vector",
    "The quick brown fox jumps over the lazy dog.",
    "Ein Größenvergleich: naïve café, Ünïcödé!",
    "emoji \N{SNOWMAN} \N{THUMBS UP SIGN} \N{FAMILY}",
    "中文 与 English 混合的文本",
    "def encode(texts: list[str]) -> np.ndarray:\n    return model(texts)  # 2 + 2 == 4",
    "x" * 150,
    "See https://example.org/a?b=c&d=1%20 and mail@example.org, 3.14159, 1,000,000",
    "search document store " * 40,
    "MiXeD CaSe with [SEP] and [MASK] inside",
]

SPECIAL = [
    "x <s> y </s>",
    "x <mask> y <pad>",
    "a [CLS] b [MASK]c [UNK]",
    " leading and trailing ",
    "two  spaces\tand\nlines",
    "fox,dog!fox (index)",
    "full ＡＢＣ \N{LATIN SMALL LIGATURE FI} e\N{COMBINING ACUTE ACCENT}",
]

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
"""Of the models that differ from others in their files, not in their numbers."""

CORPUS = [
    *TEXTS,
    "A document is cut into chunks, each chunk becomes a vector, and the store answers a search.",
    "The model reads tokens: words are cut into pieces which the vocabulary knows, others are replaced.",
    "search query document passage store index fox dog lazy quick brown jump vector encode texts model",
]


def main() -> None:
    """Write all fixtures and print what was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="the folder to write into: tests/fixtures")
    parser.add_argument("real", type=Path, help="a folder with the files of all-MiniLM-L6-v2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order
    for name, make in MODELS.items():
        folder = arguments.target / "models" / name
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(sum(name.encode()))
        make(folder)
        write_expected(folder)
        report(folder)
    for name, export in EXPORTS.items():
        folder = arguments.target / "models" / name
        shutil.rmtree(folder, ignore_errors=True)
        export(arguments.target / "models" / "bert-mean", folder)
        report(folder)
    for name, make_graph in GRAPHS.items():
        folder = arguments.target / "models" / name
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(sum(name.encode()))
        with tempfile.TemporaryDirectory() as temporary:
            source = Path(temporary) / "source"
            make_graph(source, folder)
        report(folder)
    for name, (make_tokenizer, settings) in TOKENIZERS.items():
        folder = arguments.target / "tokenizers" / name
        shutil.rmtree(folder, ignore_errors=True)
        write_tokenizer(folder, make_tokenizer(), settings)
        report(folder)
    check_padding_side(arguments.target / "models" / "bert-mean")
    write_references(arguments.real, arguments.target / "references")


# The models


def bert(folder: Path, head: Sequence[Any] = (), *, pooling: Any = "mean", prompts: Any = None, **config: Any) -> None:
    """A tiny BERT; `head` are the modules after pooling, `config` overrides BertConfig."""
    tokenizer = BertTokenizer(vocab=vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]), model_max_length=LIMIT)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    settings |= {"max_position_embeddings": 64, "initializer_range": 0.3} | config
    configuration = BertConfig(vocab_size=len(tokenizer), **settings)
    save(folder, BertModel(configuration), tokenizer, [Pooling(configuration.hidden_size, pooling), *head], prompts)


def mpnet(folder: Path, **config: Any) -> None:
    """A tiny MPNet: positions begin after the padding id 1, and attention has a bias by distance."""
    special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    tokenizer = MPNetTokenizer(vocab=vocabulary(special), model_max_length=LIMIT)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    settings |= {"max_position_embeddings": 66, "initializer_range": 0.3} | config
    configuration = MPNetConfig(vocab_size=len(tokenizer), relative_attention_num_buckets=32, **settings)
    save(folder, MPNetModel(configuration), tokenizer, [Pooling(configuration.hidden_size), Normalize()], None)
    if configuration.max_position_embeddings < LIMIT:  # what of the positions a text may have
        limit_to(folder, configuration.max_position_embeddings - 2)


def limit_to(folder: Path, tokens: int) -> None:
    """The tokenizer's own limit; sentence-transformers does not take the positions off that are never used."""
    path = folder / "tokenizer_config.json"
    write_json(path, json.loads(path.read_text()) | {"model_max_length": tokens})


def half_precision(folder: Path) -> None:
    """The weights are stored as f16; the reference computes with them in f32."""
    bert(folder, [Normalize()])
    weights = load_file(folder / "model.safetensors")
    halved = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})


def sharded(folder: Path) -> None:
    """The weights are split over several files with an index."""
    bert(folder, [Normalize()])
    model = BertModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")


def old_layout(folder: Path) -> None:
    """The files that sentence-transformers wrote before version 5.4: other names, flags for pooling."""
    bert(folder, [Normalize()], pooling=("cls", "mean"))
    old = "sentence_transformers.models"
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"{old}.{kind}"} for n, (path, kind) in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    flags = {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    write_json(folder / "1_Pooling" / "config.json", flags)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})


def plain(folder: Path) -> None:
    """A transformer alone, without modules.json."""
    bert(folder)
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "1_Pooling")


def dense(out: int, activation: Any) -> Dense:
    """A layer with weights large enough to bend its activation."""
    layer = Dense(32, out, activation_function=activation)
    with torch.no_grad():
        layer.linear.weight.normal_(std=0.5)
        layer.linear.bias.normal_(std=0.5)
    return layer


PROMPTS = {"query": "search query: ", "document": "search document: "}

MODELS: dict[str, Callable[[Path], None]] = {
    "bert-mean": lambda folder: bert(folder, [Normalize()]),
    "bert-cls": lambda folder: bert(folder, [Normalize()], pooling="cls"),
    "bert-max-dense": lambda folder: bert(folder, [dense(24, torch.nn.Tanh())], pooling="max"),
    "bert-mean-dense-identity": lambda folder: bert(folder, [dense(40, torch.nn.Identity()), Normalize()]),
    "bert-last": lambda folder: bert(folder, [Normalize()], pooling="lasttoken"),
    "bert-prompts": lambda folder: bert(folder, [Normalize()], prompts=PROMPTS),
    "bert-gelu-new": lambda folder: bert(folder, [Normalize()], hidden_act="gelu_new"),
    "bert-relu": lambda folder: bert(folder, [], hidden_act="relu", num_attention_heads=2, num_hidden_layers=3),
    "bert-old-layout": old_layout,
    "bert-f16": half_precision,
    "bert-sharded": sharded,
    "bert-plain": plain,
    "mpnet-mean": mpnet,
    "bert-40-positions": lambda folder: bert(folder, [Normalize()], max_position_embeddings=40, **TINY),
    "mpnet-40-positions": lambda folder: mpnet(folder, max_position_embeddings=40, **TINY),
}


def save(folder: Path, model: Any, tokenizer: Any, head: Sequence[Any], prompts: dict[str, str] | None) -> None:
    """Save by sentence-transformers' own `save`, after making biases and norms as uneven as trained ones."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm.weight" in name:
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.normal_(std=0.2)
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        modules = [Transformer(temporary), *head]
        SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder))
    (folder / "README.md").unlink(missing_ok=True)


def vocabulary(special: list[str]) -> dict[str, int]:
    """Word pieces out of the texts themselves: short words whole, long ones in pieces of three letters.

    Written out here because a trainer's choice among equals is not the same at each run. Most Chinese
    characters and all emoji are left out, so that the unknown token occurs.
    """
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    pieces: set[str] = set()
    for text in CORPUS:
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            letters = [letter for letter in word if letter < "\u2000" or letter in "中文"]
            pieces.update(letters, ("##" + letter for letter in letters))
            if len(letters) == len(word) <= 6:
                pieces.add(word)
            elif len(letters) == len(word):
                pieces.update({word[:3], *("##" + word[at : at + 3] for at in range(3, len(word), 3))})
    return {piece: n for n, piece in enumerate([*special, *sorted(pieces - set(special))])}


# What is expected of them


def write_expected(folder: Path) -> None:
    """Texts, token ids and vectors."""
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    document = (model.prompts or {}).get("document") or ""
    ids = [token_ids(model, document + text) for text in TEXTS]
    write_json(folder / "texts.json", {"texts": TEXTS, "ids": ids, "special": SPECIAL})
    np.save(folder / "vectors.npy", embed(model.encode_document, TEXTS), allow_pickle=False)
    np.save(folder / "special.npy", embed(model.encode_document, SPECIAL), allow_pickle=False)
    if any((model.prompts or {}).values()):
        np.save(folder / "queries.npy", embed(model.encode_query, TEXTS), allow_pickle=False)


def embed(encode: Callable[..., Any], texts: Sequence[str]) -> Any:
    """One text at a time: the reference knows no padding."""
    return np.stack([encode([text], batch_size=1, show_progress_bar=False)[0] for text in texts]).astype(np.float32)


def token_ids(model: SentenceTransformer, text: str) -> list[int]:
    """The ids that the model is given."""
    return [int(n) for n in model.tokenize([text])["input_ids"][0]]


# Ready graphs


class Encoder(torch.nn.Module):
    """A transformer as it is exported. The mask is additive: this exporter cannot trace how transformers makes one."""

    def __init__(self, folder: Path, model: Any, kind: torch.dtype = torch.float32, *, states: bool = False) -> None:
        super().__init__()
        self.model = model.from_pretrained(folder, attn_implementation="eager", dtype=kind).eval()
        self.kind = kind
        self.states = states  # whether the embeddings are put out as well, before the last hidden state

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        """The last hidden state, or the embeddings and it."""
        mask = (1.0 - attention_mask[:, None, None, :].to(self.kind)) * torch.finfo(self.kind).min
        more = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        given = self.model(input_ids=input_ids, attention_mask=mask, output_hidden_states=self.states, **more)
        return (given.hidden_states[0], given.last_hidden_state) if self.states else given.last_hidden_state


def write_onnx(encoder: Encoder, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Export it for texts of any number and length."""
    path.parent.mkdir(parents=True)
    example = torch.ones((2, 7), dtype=torch.int64)
    torch.onnx.export(
        encoder,
        (example,) * len(inputs),
        str(path),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in [*inputs, *outputs]},
        opset_version=17,
        dynamo=False,
    )


BERT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LAST = "last_hidden_state"


def export_onnx(source: Path, folder: Path) -> None:
    """The encoder of `source` in ONNX format, and no safetensors."""
    copy_without_weights(source, folder)
    write_onnx(Encoder(source, BertModel), folder / "onnx" / "model.onnx", BERT_INPUTS, [LAST])


def onnx_of(kind: torch.dtype, source: Path, folder: Path, *, states: bool = False) -> None:
    """A tiny BERT whose graph is of this kind; the reference computes with the same weights in f32."""
    bert(source, [Normalize()], **TINY)
    weights = load_file(source / "model.safetensors")
    save_file(
        {name: t.to(kind) if t.is_floating_point() else t for name, t in weights.items()},
        source / "model.safetensors",
        metadata={"format": "pt"},
    )
    write_expected(source)
    copy_without_weights(source, folder)
    outputs = ["embeddings", LAST] if states else [LAST]
    path = folder / "onnx" / "model.onnx"
    write_onnx(Encoder(source, BertModel, kind, states=states), path, BERT_INPUTS, outputs)


def onnx_with_external_data(source: Path, folder: Path) -> None:
    """The weights lie in a file of their own, under a name of its own."""
    onnx_of(torch.float32, source, folder)
    path = folder / "onnx" / "model.onnx"
    graph = onnx.load(path)
    onnx.save_model(graph, path, save_as_external_data=True, location="weights.bin", size_threshold=64)


def roberta(source: Path, folder: Path) -> None:
    """A tiny RoBERTa as ONNX, whose settings ask for a space before the first word, which its tokenizer.json does not.

    It has 40 positions, of which the first two are never used.
    """
    tokenizer = byte_pairs(RobertaTokenizer, model_max_length=38)
    configuration = RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=40, initializer_range=0.3, pad_token_id=1, **TINY
    )
    save(source, RobertaModel(configuration), tokenizer, [Pooling(16), Normalize()], None)
    limit_to(source, 38)
    path = source / "tokenizer_config.json"
    write_json(path, json.loads(path.read_text()) | {"add_prefix_space": True})
    write_expected(source)
    copy_without_weights(source, folder)
    write_onnx(Encoder(source, RobertaModel), folder / "onnx" / "model.onnx", BERT_INPUTS[:2], [LAST])


GRAPHS: dict[str, Callable[[Path, Path], None]] = {
    "bert-onnx-f16": lambda source, folder: onnx_of(torch.float16, source, folder),
    "bert-onnx-bf16": lambda source, folder: onnx_of(torch.bfloat16, source, folder),
    "bert-onnx-external": onnx_with_external_data,
    "bert-onnx-states": lambda source, folder: onnx_of(torch.float32, source, folder, states=True),
    "roberta-onnx": roberta,
}


def export_openvino(source: Path, folder: Path) -> None:
    """The encoder of `source` as sentence-transformers itself exports it to OpenVINO."""
    copy_without_weights(source, folder)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) / "model"
        shutil.copytree(source, work)
        model = SentenceTransformer(str(work), backend="openvino", model_kwargs={"export": True}, device="cpu")
        model.save_pretrained(str(work))
        target = folder / "openvino"
        target.mkdir()
        for suffix in ("xml", "bin"):
            found = next(work.rglob(f"openvino_model.{suffix}"))
            shutil.copy(found, target / found.name)


def copy_without_weights(source: Path, folder: Path) -> None:
    """All but the weights; the vectors expected are the same."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))


EXPORTS: dict[str, Callable[[Path, Path], None]] = {
    "bert-onnx": export_onnx,
    "bert-openvino": export_openvino,
}


# Tokenizers alone

ANGLES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BRACKETS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]


def byte_pairs(kind: Any, special: Sequence[str] = ANGLES, **settings: Any) -> Any:
    """A tokenizer of byte pairs."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=list(special), initial_alphabet=sorted(alphabet))
    trained.train_from_iterator(CORPUS, trainer)
    model = json.loads(trained.to_str())["model"]
    return kind(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]], **settings)


def unigrams(kind: Any, special: Sequence[str], **settings: Any) -> Any:
    """A tokenizer of pieces with scores."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=list(special), unk_token=special[3])
    trained.train_from_iterator(CORPUS, trainer)
    pieces = json.loads(trained.to_str())["model"]["vocab"]
    return kind(vocab=[tuple(piece) for piece in pieces], **settings)


def word_pieces() -> Any:
    """BERT's tokenizer."""
    return BertTokenizer(vocab=vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))


def mpnet_pieces() -> Any:
    """MPNet's tokenizer, whose mask takes the space before it."""
    return MPNetTokenizer(vocab=vocabulary(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]))


def deberta_v2() -> Any:
    """DeBERTa's second tokenizer."""
    return unigrams(DebertaV2Tokenizer, BRACKETS, unk_id=3)


FOX = {
    "__type": "AddedToken",
    "content": "fox",
    "lstrip": True,
    "normalized": False,
    "rstrip": False,
    "single_word": False,
    "special": True,
}

# The tokenizer, and settings that are written into its tokenizer_config.json after it was saved; None takes one out.
TOKENIZERS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "bert-cased": (word_pieces, {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False}),
    "bert-added": (word_pieces, {"additional_special_tokens": ["dog"], "mask_token": FOX, "cls_token": "[MASK]"}),
    "mpnet-plain": (mpnet_pieces, {}),
    "bert-fast-class": (word_pieces, {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}),
    "bert-split-special": (word_pieces, {"split_special_tokens": True}),
    "roberta-spaced": (lambda: byte_pairs(RobertaTokenizer), {"add_prefix_space": True}),
    "roberta-unspaced": (lambda: byte_pairs(RobertaTokenizer, add_prefix_space=True), {"add_prefix_space": None}),
    "deberta-spaced": (lambda: byte_pairs(DebertaTokenizer, BRACKETS), {"add_prefix_space": True}),
    "deberta-v2-plain": (deberta_v2, {}),
    "deberta-v2-lower": (deberta_v2, {"do_lower_case": True, "split_by_punct": True, "add_prefix_space": False}),
    "xlm-roberta-plain": (lambda: unigrams(XLMRobertaTokenizer, ANGLES), {}),
    "xlm-roberta-unspaced": (lambda: unigrams(XLMRobertaTokenizer, ANGLES), {"add_prefix_space": False}),
}
KINDS = {
    BertTokenizer: "bert",
    MPNetTokenizer: "mpnet",
    RobertaTokenizer: "roberta",
    DebertaTokenizer: "deberta",
    DebertaV2Tokenizer: "deberta-v2",
    XLMRobertaTokenizer: "xlm-roberta",
}


def write_tokenizer(folder: Path, tokenizer: Any, settings: dict[str, Any]) -> None:
    """The tokenizer with these settings, and the ids that it then gives."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text()) | settings
    write_json(path, {name: value for name, value in values.items() if value is not None})
    write_json(folder / "config.json", {"model_type": KINDS[type(tokenizer)], "vocab_size": len(tokenizer)})
    loaded = AutoTokenizer.from_pretrained(folder)
    texts = TEXTS + SPECIAL
    write_json(folder / "ids.json", {"texts": texts, "ids": [loaded(text)["input_ids"] for text in texts]})


def check_padding_side(source: Path) -> None:
    """Where a text is alone, padding on the left gives the same vectors: the reference knows no padding."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(source, Path(temporary) / "model"))
        path = folder / "tokenizer_config.json"
        write_json(path, json.loads(path.read_text()) | {"padding_side": "left"})
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
        found = embed(model.encode_document, TEXTS)
    expected = np.load(source / "vectors.npy", allow_pickle=False)
    assert np.abs(found - expected).max() < 1e-6, "padding_side changes the vectors of single texts"


# References of the real model

REAL_TEXTS = [
    "",
    " ",
    "\n\t  \r\n",
    "a",
    "Hello",
    "embedding",
    "42",
    "3.14159 -2.71828e10 0xDEADBEEF 1,000,000.00 €",
    "The quick brown fox jumps over the lazy dog.",
    "the quick brown fox jumps over the lazy dog",
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG!",
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A cheetah is running behind its prey.",
    "How do I read a file line by line in Python?",
    "What is the capital of France?",
    "Paris is the capital and most populous city of France.",
    "Die Katze schläft auf dem Sofa, während es draußen regnet.",
    "L'été dernier, nous avons mangé une crème brûlée à Orléans.",
    "El niño comió piñas en la montaña.",
    "Zażółć gęślą jaźń",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ο γρήγορος καφές πηδάει πάνω από το τεμπέλικο σκυλί",
    "人工智能正在改变世界。",
    "吾輩は猫である。名前はまだ無い。",
    "대한민국의 수도는 서울입니다.",
    "السلام عليكم ورحمة الله وبركاته",
    "שלום עולם",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "\N{SNOWMAN}",
    "\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4} \N{ROCKET} to the \N{FULL MOON SYMBOL}",
    "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
    "e\N{COMBINING ACUTE ACCENT} n\N{COMBINING TILDE} a" + "\N{COMBINING RING ABOVE}" * 8,
    "naïve NAÏVE nai\N{COMBINING DIAERESIS}ve",
    "full width: ＡＢＣ１２３ and ligatures: ﬁ ﬂ ß",
    "zero\N{ZERO WIDTH SPACE}width and soft\N{SOFT HYPHEN}hyphen and nul\0inside",
    'def add(a: int, b: int) -> int:\n    """Add two numbers."""\n    return a + b\n',
    '#include <stdio.h>\nint main(void) { printf("hi\\n"); return 0; }',
    "SELECT id, name FROM users WHERE created_at > now() - interval '7 days' ORDER BY id;",
    '{"key": [1, 2.5, null, true], "nested": {"a": "b"}}',
    "https://example.org/path/to/page?query=string&n=1#fragment",
    "mail someone@example.org, or call +49 (0)30 123456-78",
    "C:\\Windows\\System32\\drivers\\etc\\hosts",
    "[CLS] special [SEP] tokens [MASK] in [PAD] the [UNK] text",
    "!" * 60,
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "x" * 5000,
    "word " * 253 + "end",
    "word " * 254 + "end",
    "The cat sat on the mat. " * 30,
    " ".join(f"w{n}" for n in range(10_000)),
    "line one\nline two\n\n\nline five\ttabbed   spaced",
]


def write_references(real: Path, folder: Path) -> None:
    """Vectors of varied texts from the real model."""
    folder.mkdir(parents=True, exist_ok=True)
    model = SentenceTransformer(str(real), device="cpu", model_kwargs={"dtype": torch.float32})
    expected = {"texts": REAL_TEXTS, "ids": [token_ids(model, text) for text in REAL_TEXTS]}
    write_json(folder / "all-MiniLM-L6-v2.json", expected)
    np.save(folder / "all-MiniLM-L6-v2.npy", embed(model.encode_document, REAL_TEXTS), allow_pickle=False)
    report(folder)


def write_json(path: Path, value: Any) -> None:
    """One line for each member, so that a change shows in a comparison of versions."""
    path.write_text(json.dumps(value, ensure_ascii=True, indent=None if "ids" in value else 2) + "\n", "utf-8")


def report(folder: Path) -> None:
    """Print the folder's size."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    print(f"{folder}: {len(files)} files, {sum(path.stat().st_size for path in files):,} bytes")


if __name__ == "__main__":
    main()
