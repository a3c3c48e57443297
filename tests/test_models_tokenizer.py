"""Token ids: the same as transformers' own tokenizer gives, at any length."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models import ModelFiles, Tokenizer, read_card, tokenizer_sha256

MODELS = Path(__file__).parent / "fixtures" / "models"


TOKENIZERS_ALONE = MODELS.parent / "tokenizers"


def change(path: Path, **fields: object) -> None:
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(values | fields))


def model_with_tokenizer(source: Path, folder: Path) -> Path:
    """A model whose tokenizer is that of `source`; what else it has does not matter."""
    shutil.copytree(MODELS / "bert-onnx-external", folder)
    for path in source.glob("tokenizer*.json"):
        shutil.copy(path, folder)
    own = json.loads((source / "config.json").read_text())
    change(folder / "config.json", architectures=["OtherModel"], **own)
    return folder


def tokenizer_of(folder: Path) -> Tokenizer:
    return Tokenizer(read_card(ModelFiles(str(folder), folder, "path")))


@pytest.fixture(scope="module")
def real(real_model: ModelFiles) -> Tokenizer:
    return Tokenizer(read_card(real_model))


@pytest.mark.parametrize("name", sorted(path.name for path in MODELS.iterdir()))
def test_ids_equal_those_of_transformers(name: str) -> None:
    expected = json.loads((MODELS / name / "texts.json").read_text())
    card = read_card(ModelFiles(name, MODELS / name, "path"))
    ids = Tokenizer(card).encode(expected["texts"], card.prompt("document"))
    assert [row.tolist() for row in ids] == expected["ids"]
    assert all(row.dtype == np.int32 for row in ids)
    assert max(len(row) for row in ids) == card.max_tokens


@pytest.mark.parametrize("name", sorted(path.name for path in TOKENIZERS_ALONE.iterdir()))
def test_settings_that_the_tokenizer_s_file_does_not_carry_are_followed(name: str, tmp_path: Path) -> None:
    """Flaw: a space before the first word, lower case and more that only tokenizer_config.json asks for were lost."""
    folder = model_with_tokenizer(TOKENIZERS_ALONE / name, tmp_path / "model")
    expected = json.loads((TOKENIZERS_ALONE / name / "ids.json").read_text())
    ids = tokenizer_of(folder).encode(expected["texts"], truncate=False)
    assert [row.tolist() for row in ids] == expected["ids"]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("roberta-spaced", True),
        ("roberta-unspaced", True),
        ("deberta-v2-plain", False),
        ("deberta-v2-lower", True),
        ("xlm-roberta-plain", False),
        ("xlm-roberta-unspaced", True),
        ("bert-added", True),
        ("bert-split-special", True),
    ],
)
def test_the_digest_has_what_the_settings_change_and_no_more(name: str, changed: bool, tmp_path: Path) -> None:
    """The vectors of a model whose settings say what its file does stay where they are."""
    folder = model_with_tokenizer(TOKENIZERS_ALONE / name, tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    overrides = [settings.get(key) for key in ("tokenizer_class", "do_lower_case", "strip_accents")]
    facts = ["tokenizer.json", False, [*overrides, settings.get("tokenize_chinese_chars"), None]]
    plain = hashlib.sha256(json.dumps(facts).encode() + b"\0" + (folder / "tokenizer.json").read_bytes()).hexdigest()
    assert (tokenizer_sha256(read_card(ModelFiles("m", folder, "path"))) != plain) is changed


@pytest.mark.parametrize("setting", ["add_prefix_space", "do_lower_case"])
def test_a_contradiction_without_a_rule_is_refused(setting: str, tmp_path: Path) -> None:
    folder = model_with_tokenizer(TOKENIZERS_ALONE / "xlm-roberta-plain", tmp_path / "model")
    change(folder / "config.json", model_type="camembert")
    change(folder / "tokenizer_config.json", tokenizer_class="CamembertTokenizer")
    tokenizer_of(folder)
    value = json.loads((folder / "tokenizer_config.json").read_text()).get(setting, False)
    change(folder / "tokenizer_config.json", **{setting: not value})
    with pytest.raises(UnsupportedModel, match=f"{setting}.*CamembertTokenizer"):
        tokenizer_of(folder)


def test_the_transformer_s_settings_override_the_tokenizer_s(tmp_path: Path) -> None:
    """sentence_bert_config.json may hold settings of the tokenizer, under two names."""
    folder = model_with_tokenizer(TOKENIZERS_ALONE / "roberta-spaced", tmp_path / "model")
    spaced = tokenizer_of(folder).encode(["fox"])[0].tolist()
    before = tokenizer_sha256(read_card(ModelFiles("m", folder, "path")))
    change(folder / "sentence_bert_config.json", tokenizer_args={"add_prefix_space": False})
    assert tokenizer_of(folder).encode(["fox"])[0].tolist() != spaced
    assert tokenizer_sha256(read_card(ModelFiles("m", folder, "path"))) != before
    change(folder / "sentence_bert_config.json", tokenizer_args={"clever": True})
    with pytest.raises(UnsupportedModel, match="clever"):
        tokenizer_of(folder)


def test_ids_of_the_real_model_equal_those_of_transformers(real: Tokenizer, references: Path) -> None:
    """Flaw: the packaged tokenizer.json truncates and pads at 128 by itself."""
    expected = json.loads((references / "all-MiniLM-L6-v2.json").read_text())
    assert [row.tolist() for row in real.encode(expected["texts"])] == expected["ids"]


def test_a_vocabulary_alone_is_enough_for_bert(tmp_path: Path, real_model: ModelFiles) -> None:
    folder = tmp_path / "model"
    shutil.copytree(real_model.folder, folder, ignore=shutil.ignore_patterns("tokenizer.json", "*.safetensors"))
    (folder / "model.safetensors").symlink_to(real_model.folder / "model.safetensors")
    expected = json.loads((Path(__file__).parent / "fixtures/references/all-MiniLM-L6-v2.json").read_text())
    assert [row.tolist() for row in tokenizer_of(folder).encode(expected["texts"])] == expected["ids"]


def test_empty_text_is_the_special_tokens_alone(real: Tokenizer) -> None:
    assert real.special_tokens == 2
    assert [row.tolist() for row in real.encode(["", " "])] == [[101, 102]] * 2
    assert real.encode([]) == []


def test_lone_surrogates_count_as_replacement_characters(real: Tokenizer) -> None:
    odd, even = real.encode(["a \ud800 b\udfff", "a � b�"])
    assert odd.tolist() == even.tolist()


def test_untruncated_ids_are_whole(real: Tokenizer) -> None:
    text = "word " * 1000
    assert len(real.encode([text], truncate=False)[0]) == 1002
    cut = real.encode([text])[0]
    assert len(cut) == 256
    assert cut[-1] == 102  # [SEP]


def test_the_padding_s_id() -> None:
    assert tokenizer_of(MODELS / "bert-mean").pad_id == 0
    assert tokenizer_of(MODELS / "mpnet-mean").pad_id == 1


# What a long text may be made of; each piece stresses another rule of the tokenizer.
PIECES = st.sampled_from(
    [
        "word ",
        "x" * 120,
        " " * 200,
        "漢字",
        "a\u0301",
        "...",
        "-",
        "\u0301",
        "[MASK]",
        "<mask>",
        "[ SEP ]",
        "\x00\x1c",
        "\n\t",
        "É",
        "ab",
    ]
)


TOKENIZERS = {name: tokenizer_of(MODELS / name) for name in ("bert-mean", "mpnet-mean")}


@settings(max_examples=200)
@given(
    st.lists(st.tuples(PIECES, st.integers(1, 3)), min_size=1, max_size=12),
    st.integers(0, 60),
    st.sampled_from(["bert-mean", "mpnet-mean"]),
)
def test_a_piece_has_the_ids_of_the_whole_as_far_as_it_reaches(
    pieces: list[tuple[str, int]], characters: int, name: str
) -> None:
    text = "".join(piece * times for piece, times in pieces)
    tokenizer = TOKENIZERS[name]
    piece = tokenizer._piece(text, characters)
    assert len(piece) >= min(characters, len(text))
    part, whole = tokenizer.encode([piece, text], truncate=False)
    assert part[:-1].tolist() == whole[: len(part) - 1].tolist()


@pytest.mark.parametrize("spaces", range(10, 21))
def test_a_sparse_text_is_read_far_enough(spaces: int) -> None:
    """About as many tokens as the limit lie in the first piece that is read: one too few would show."""
    tokenizer = TOKENIZERS["bert-mean"]
    for start in range(20):
        text = " " * start + ("fox" + " " * spaces) * 200
        whole, cut = tokenizer.encode([text], truncate=False)[0], tokenizer.encode([text])[0]
        assert cut.tolist() == [*whole[:47].tolist(), int(whole[-1])]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(PIECES, st.integers(1, 200)), max_size=12),
    st.sampled_from(["bert-mean", "mpnet-mean"]),
)
def test_a_truncated_text_has_the_first_ids_of_the_whole(pieces: list[tuple[str, int]], name: str) -> None:
    text = "".join(piece * times for piece, times in pieces)
    tokenizer = TOKENIZERS[name]
    whole, cut = tokenizer.encode([text], truncate=False)[0], tokenizer.encode([text])[0]
    if len(whole) <= 48:
        assert cut.tolist() == whole.tolist()
    else:
        assert cut.tolist() == [*whole[:47].tolist(), int(whole[-1])]


@pytest.mark.parametrize("unit", ["word ", "漢", ".", "a-"])
def test_truncating_does_not_read_all_of_a_huge_text(real: Tokenizer, unit: str) -> None:
    """Flaw 11, and 10 MB in one line: what counts is its beginning."""

    def seconds(characters: int) -> float:
        text = unit * (characters // len(unit))
        start = time.process_time()
        assert len(real.encode([text])[0]) == 256
        return time.process_time() - start

    seconds(10_000)
    assert seconds(10_000_000) < 100 * max(seconds(10_000), 0.002)  # tokenising all of it costs 1000 times as much


def test_several_threads_get_their_own_ids(real: Tokenizer) -> None:
    texts = [[f"text {n} {m}" for m in range(20)] for n in range(40)]
    expected = [[row.tolist() for row in real.encode(batch)] for batch in texts]
    with ThreadPoolExecutor(4) as pool:
        for rows, want in zip(pool.map(real.encode, texts), expected, strict=True):
            assert [row.tolist() for row in rows] == want


def test_left_truncation_keeps_the_end(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MODELS / "bert-mean", tmp_path / "model"))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation_side": "left"}))
    tokenizer = tokenizer_of(folder)
    text = "fox dog " * 100 + "lazy"
    whole, cut = tokenizer.encode([text], truncate=False)[0], tokenizer.encode([text])[0]
    assert cut.tolist() == [int(whole[0]), *whole[-47:].tolist()]


def test_settings_override_the_tokenizer_s_file(tmp_path: Path) -> None:
    """As transformers does: do_lower_case of tokenizer_config.json wins over tokenizer.json."""
    folder = Path(shutil.copytree(MODELS / "bert-mean", tmp_path / "model"))
    before = tokenizer_sha256(read_card(ModelFiles("m", folder, "path")))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": False}))
    small, large = tokenizer_of(folder).encode(["fox", "FOX"])
    assert small.tolist() != large.tolist()
    assert tokenizer_sha256(read_card(ModelFiles("m", folder, "path"))) != before
    settings_file = folder / "sentence_bert_config.json"
    settings_file.write_text(json.dumps({"do_lower_case": True}))  # sentence-transformers' own switch
    small, large = tokenizer_of(folder).encode(["fox", "FOX"])
    assert small.tolist() == large.tolist()


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MODELS / "bert-mean", tmp_path / "model"))
    path = folder / "tokenizer.json"
    path.write_text(path.read_text()[:-100])
    with pytest.raises(ModelError, match=r"tokenizer\.json: cannot be read"):
        tokenizer_of(folder)
