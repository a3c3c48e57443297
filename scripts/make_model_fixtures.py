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
- ``queries.npy``    the same texts embedded as queries, where the model has prompts

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
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, BertTokenizer, MPNetConfig, MPNetModel, MPNetTokenizer

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
    write_references(arguments.real, arguments.target / "references")


# The models


def bert(folder: Path, head: Sequence[Any] = (), *, pooling: Any = "mean", prompts: Any = None, **config: Any) -> None:
    """A tiny BERT; `head` are the modules after pooling, `config` overrides BertConfig."""
    tokenizer = BertTokenizer(vocab=vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]), model_max_length=LIMIT)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    configuration = BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.3, **(settings | config)
    )
    save(folder, BertModel(configuration), tokenizer, [Pooling(32, pooling), *head], prompts)


def mpnet(folder: Path) -> None:
    """A tiny MPNet: positions begin after the padding id 1, and attention has a bias by distance."""
    special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    tokenizer = MPNetTokenizer(vocab=vocabulary(special), model_max_length=LIMIT)
    configuration = MPNetConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        relative_attention_num_buckets=32,
        initializer_range=0.3,
    )
    save(folder, MPNetModel(configuration), tokenizer, [Pooling(32, "mean"), Normalize()], None)


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
    write_json(folder / "texts.json", {"texts": TEXTS, "ids": ids})
    np.save(folder / "vectors.npy", embed(model.encode_document, TEXTS), allow_pickle=False)
    if any((model.prompts or {}).values()):
        np.save(folder / "queries.npy", embed(model.encode_query, TEXTS), allow_pickle=False)


def embed(encode: Callable[..., Any], texts: Sequence[str]) -> Any:
    """One text at a time: the reference knows no padding."""
    return np.stack([encode([text], batch_size=1, show_progress_bar=False)[0] for text in texts]).astype(np.float32)


def token_ids(model: SentenceTransformer, text: str) -> list[int]:
    """The ids that the model is given."""
    return [int(n) for n in model.tokenize([text])["input_ids"][0]]


# Ready graphs


def export_onnx(source: Path, folder: Path) -> None:
    """The encoder of `source` in ONNX format, and no safetensors."""
    copy_without_weights(source, folder)
    path = folder / "onnx" / "model.onnx"
    path.parent.mkdir()
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    example = torch.ones((2, 7), dtype=torch.int64)

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = BertModel.from_pretrained(source, attn_implementation="eager").eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            # As an additive mask: this exporter cannot trace how transformers makes one.
            mask = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
            return self.model(input_ids=input_ids, attention_mask=mask, token_type_ids=token_type_ids).last_hidden_state

    torch.onnx.export(
        Encoder(),
        (example, example, example),
        str(path),
        input_names=inputs,
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in [*inputs, "last_hidden_state"]},
        opset_version=17,
        dynamo=False,
    )


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
