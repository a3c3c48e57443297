"""What transformers makes of a tokenizer's file by the class that the model's settings name.

tokenizer.json describes a whole tokenizer. transformers 5 takes no more than the vocabulary from it where the class is
one of its older ones, such as BertTokenizer: the rest is built anew from tokenizer_config.json. A model that was saved
with other settings than its file carries therefore has other tokens than the file alone would give.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import tokenizers

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.models.json_config import Config, unreadable

Section = dict[str, Any] | None
"""A part of tokenizer.json, as that writes it."""

BERT_LIKE: Final = frozenset({"BertTokenizer", "MPNetTokenizer"})
_BYTE_LEVEL: Final = frozenset({"RobertaTokenizer", "DebertaTokenizer"})
_SETTING_FREE: Final = frozenset({"PreTrainedTokenizer", "TokenizersBackend", "PythonBackend"})

# The class that transformers takes for a type of model. Where the settings name another one, the file counts alone.
_CLASSES: Final = {
    "BertTokenizer": "bert convbert distilbert electra ernie layoutlm megatron-bert nomic_bert squeezebert",
    "MPNetTokenizer": "mpnet",
    "RobertaTokenizer": "data2vec-text ibert lilt longformer roberta roberta-prelayernorm",
    "XLMRobertaTokenizer": "jina_embeddings_v3 xlm-roberta xlm-roberta-xl xmod",
    "DebertaTokenizer": "deberta",
    "DebertaV2Tokenizer": "deberta-v2",
    "TokenizersBackend": "mistral modernbert",
    "AlbertTokenizer": "albert nystromformer",
    "CamembertTokenizer": "camembert",
    "T5Tokenizer": "mt5 t5",
    "GPT2Tokenizer": "gpt2",
    "Qwen2Tokenizer": "qwen2 qwen3",
    "GemmaTokenizer": "gemma gemma2 gemma3_text",
    "FunnelTokenizer": "funnel",
    "BigBirdTokenizer": "big_bird",
    "RemBertTokenizer": "rembert",
}
_CLASS_OF: Final = {kind: name for name, kinds in _CLASSES.items() for kind in kinds.split()}

_BRACKETS: Final = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_ANGLES: Final = {
    "bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>",
}  # fmt: skip
SPECIAL: Final[dict[str, dict[str, str]]] = {
    "BertTokenizer": _BRACKETS,
    "MPNetTokenizer": _ANGLES | {"unk": "[UNK]"},
    "RobertaTokenizer": _ANGLES,
    "XLMRobertaTokenizer": _ANGLES,
    "DebertaTokenizer": {"bos": "[CLS]", "eos": "[SEP]"} | _BRACKETS,
    "DebertaV2Tokenizer": {"bos": "[CLS]", "eos": "[SEP]"} | _BRACKETS,
}
_NAMES: Final = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_FLAGS: Final = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}


@contextlib.contextmanager
def one_line(path: Path) -> Iterator[None]:
    """What tokenizers raises for a damaged file, as `ModelError`: bare `Exception`, and a panic, which is none."""
    try:
        yield
    except ModelError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: cannot be read ({reason}): fetch the model again") from error


def tokenizer_class(settings: Config, config: Config) -> str:
    """The class that transformers builds the tokenizer with, without its ending "Fast"; "" where it knows none."""
    usual = _CLASS_OF.get(config.text("model_type", ""), "")
    for source in (settings, config):
        if source.has("tokenizer_class"):
            given = source.text("tokenizer_class").removesuffix("Fast")
            return given if not usual or given == usual else "TokenizersBackend"
    return usual


def outline(path: Path) -> dict[str, Any]:
    """What tokenizer.json says outside of its vocabulary. Raises `ModelError` for a damaged file."""
    wanted = {"added_tokens", "normalizer", "pre_tokenizer", "post_processor"}
    found: dict[str, Any] = {}
    decoder = json.JSONDecoder()
    try:
        text = path.read_text("utf-8").lstrip()
        if not text.startswith("{"):
            raise ValueError("no JSON object")
        at = 1
        while not wanted <= found.keys():
            at = _skip(text, at, ",")
            if text[at] == "}":
                break
            name, at = decoder.raw_decode(text, at)
            found[name], at = decoder.raw_decode(text, _skip(text, at, ":"))
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, IndexError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read ({error}): fetch the model again") from error
    return {name: found.get(name) for name in sorted(wanted)}


def _skip(text: str, at: int, mark: str) -> int:
    while text[at] in " \t\r\n" or text[at] == mark:
        at += 1
    return at


def replacements(path: Path, sections: Mapping[str, Any], settings: Config, config: Config) -> dict[str, Any]:
    """Which of the sections of tokenizer.json (see `outline`) are others for this class and these settings.

    Raises `UnsupportedModel` where the settings contradict the file and no rule here says what comes of it.
    """
    file = _canonical(path, sections)
    name = tokenizer_class(settings, config)
    rebuilt = _rebuilt(path, name, settings, file)
    defaults = SPECIAL.get(name, {}) if rebuilt else {}
    named = {each: settings.value(f"{each}_token") or defaults.get(each) for each in _NAMES}
    if rebuilt and (ends := _frame_tokens(name, named)) and _frame(file["post_processor"]) != ends:
        rebuilt["post_processor"] = _template(path, *ends)
    wanted = dict(file) | (_canonical(path, file | rebuilt) if rebuilt else {})
    wanted["added_tokens"] = _added(name, settings, file["added_tokens"], named, anew=bool(rebuilt))
    return {section: value for section, value in wanted.items() if value != file[section]}


def _rebuilt(path: Path, name: str, settings: Config, file: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that the class makes without regard to the file; none where the file counts."""
    if name in BERT_LIKE:
        return {"normalizer": bert_normalizer(settings), "pre_tokenizer": {"type": "BertPreTokenizer"}}
    if name in _BYTE_LEVEL:
        spaced = settings.boolean("add_prefix_space", False)
        trimmed = (file["pre_tokenizer"] or {}).get("trim_offsets", True)  # changes no id
        split = {"type": "ByteLevel", "add_prefix_space": spaced, "trim_offsets": trimmed, "use_regex": True}
        return {"normalizer": None, "pre_tokenizer": split}
    if name == "XLMRobertaTokenizer":
        return _xlm_roberta(settings, file)
    if name == "DebertaV2Tokenizer":
        # Its place depends on the vocabulary's scores.
        if token_text(settings.value("unk_token")) not in (None, "[UNK]"):
            raise UnsupportedModel(f"{settings.path}: 'unk_token' must be '[UNK]' for {name}")
        return _deberta_v2(settings)
    if name and name not in _SETTING_FREE:
        _refuse_contradictions(path, name, settings, file)
    return {}


def bert_normalizer(settings: Config) -> dict[str, Any]:
    """BERT's normaliser by the settings, with the defaults of transformers."""
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": settings.boolean("tokenize_chinese_chars", True),
        "strip_accents": settings.boolean("strip_accents") if settings.has("strip_accents") else None,
        "lowercase": settings.boolean("do_lower_case", True),
    }


def _deberta_v2(settings: Config) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"Regex": r"\s{2,}|[\n\r\t]"}, "content": " "},
        {"type": "NFC"},
        {"type": "Strip", "strip_left": False, "strip_right": True},
    ]
    if settings.boolean("do_lower_case", False):
        steps.insert(0, {"type": "Lowercase"})
    scheme = "always" if settings.boolean("add_prefix_space", True) else "first"
    splits: list[dict[str, Any]] = [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True}]
    if settings.boolean("split_by_punct", False):
        splits.insert(0, {"type": "Punctuation", "behavior": "Isolated"})
    return {"normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": _sequence(*splits)}


def _xlm_roberta(settings: Config, file: Mapping[str, Any]) -> dict[str, Any]:
    scheme = "always" if settings.boolean("add_prefix_space", True) else "never"
    words = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": True}
    split = file["pre_tokenizer"]
    if not any(split == each for each in (words, _sequence({"type": "WhitespaceSplit"}, words))):
        split = _sequence({"type": "WhitespaceSplit"}, words)
    steps = steps_of(file["normalizer"], "normalizers")
    spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}  # no matter, words are split at spaces
    if all(step["type"] == "Precompiled" or step == spaces for step in steps):
        return {"pre_tokenizer": split}
    return {"pre_tokenizer": split, "normalizer": next((step for step in steps if step["type"] == "Precompiled"), None)}


def _sequence(*splits: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(splits)}


def _refuse_contradictions(path: Path, name: str, settings: Config, file: Mapping[str, Any]) -> None:
    """Where no rule says what the class makes of a setting, it must be what the file says too."""
    steps = [*steps_of(file["normalizer"], "normalizers"), *steps_of(file["pre_tokenizer"], "pretokenizers")]
    lower = any(step["type"] == "Lowercase" or step.get("lowercase") for step in steps)
    said: dict[str, bool | None] = {"do_lower_case": lower, "split_by_punct": False}
    for step in steps:
        if step["type"] == "ByteLevel":
            said["add_prefix_space"] = bool(step.get("add_prefix_space"))
        if step["type"] == "Metaspace":
            said["add_prefix_space"] = step.get("prepend_scheme") == "always"
    for setting, value in said.items():
        if settings.has(setting) and settings.boolean(setting) is not value:
            raise UnsupportedModel(
                f"{settings.path}: {setting!r} is {str(settings.boolean(setting)).lower()} for {name[:100]}, and "
                f"{path.name} says otherwise: save the tokenizer again, so that its file has what it does"
            )


def steps_of(section: Section, name: str) -> list[dict[str, Any]]:
    """A section's steps, which a sequence has under this name."""
    if section is None:
        return []
    return list(section[name]) if section["type"] == "Sequence" else [section]


# Special tokens


def _frame_tokens(name: str, named: Mapping[str, Any]) -> tuple[list[str], list[str]] | None:
    first, last = ("bos", "eos") if name == "XLMRobertaTokenizer" else ("cls", "sep")
    before, after = token_text(named[first]), token_text(named[last])
    return ([before], [after]) if before and after else None


def _frame(processor: Section) -> tuple[list[str], list[str]] | None:
    """The tokens that are put before and after a text; None where that cannot be seen."""
    match processor:
        case {"type": "TemplateProcessing", "single": list(single)}:
            names = [step["SpecialToken"]["id"] if "SpecialToken" in step else "" for step in single]
            at = names.index("") if "" in names else len(names)
            return names[:at], names[at + 1 :]
        case {"type": "BertProcessing" | "RobertaProcessing", "cls": [str(before), _], "sep": [str(after), _]}:
            return [before], [after]
    return None


def _template(path: Path, before: list[str], after: list[str]) -> dict[str, Any]:
    """A frame of one token on each side, whose ids are found in the vocabulary when the tokenizer is built."""
    with one_line(path):
        vocabulary = tokenizers.Tokenizer.from_file(str(path))
    ids = {token: vocabulary.token_to_id(token) for token in (*before, *after)}
    for token, number in ids.items():
        if number is None:
            raise ModelError(f"{path}: the special token {token[:100]!r} is missing: fetch the model again")
    pieces = [{"SpecialToken": {"id": token, "type_id": 0}} for token in (*before, *after)]
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [pieces[0], sequence, pieces[1]],
        "pair": [pieces[0], sequence, pieces[1], {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]} for token, number in ids.items()},
    }


def _added(
    name: str, settings: Config, file: list[dict[str, Any]], named: Mapping[str, Any], *, anew: bool
) -> list[dict[str, Any]]:
    """The tokens that are found in a text before anything else, in the order in which they are added."""
    listed = settings.object("added_tokens_decoder")
    decoder = [_token(listed.value(number), settings) for number in sorted(listed.names(), key=_number)]
    tokens = decoder if anew and decoder else list(file)
    known = {token["content"] for token in tokens}
    extra = settings.value("extra_special_tokens") or settings.value("additional_special_tokens") or []
    also = list(extra.values()) if isinstance(extra, dict) else extra if isinstance(extra, list) else [extra]
    for entry in [*decoder, *filter(None, named.values()), *also]:
        token = entry if entry in decoder else _token(entry, settings) | {"special": True}
        if token["content"] not in known:
            known.add(token["content"])
            spaced = name == "MPNetTokenizer" and entry == named["mask"]
            tokens.append(token | {"lstrip": True} if spaced and isinstance(entry, str) else token)
    return tokens


def _number(name: str) -> int:
    return int(name) if name.isdecimal() else -1


def _token(entry: Any, settings: Config) -> dict[str, Any]:
    """A token as tokenizer.json writes it, from its text alone or from an object with its text."""
    text = token_text(entry)
    if not text:
        raise settings.wrong("added_tokens_decoder, or a special token", "a text, or an object with one", entry)
    if isinstance(entry, str):
        return {**_FLAGS, "normalized": False, "special": True, "content": text}
    return {flag: bool(entry.get(flag, default)) for flag, default in _FLAGS.items()} | {"content": text}


def token_text(token: Any) -> str | None:
    """A special token's text, which newer files write as an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _canonical(path: Path, sections: Mapping[str, Any]) -> dict[str, Any]:
    """The sections as the tokenizers library itself writes them, and the added tokens without their ids."""
    shell: dict[str, Any] = {"version": "1.0", "truncation": None, "padding": None, "decoder": None, "added_tokens": []}
    model = {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}
    parts = {name: sections[name] for name in ("normalizer", "pre_tokenizer", "post_processor")}
    with one_line(path):
        _check_templates(parts["post_processor"])
        _check_charsmaps(parts["normalizer"])
        whole = json.loads(tokenizers.Tokenizer.from_str(json.dumps({**shell, **parts, "model": model})).to_str())
        added = sorted(sections["added_tokens"] or [], key=lambda token: token.get("id", 0))
        tokens = [{name: token[name] for name in (*_FLAGS, "content")} for token in added]
        if not all(isinstance(token["content"], str) for token in tokens):
            raise TypeError("an added token that is no text")
    return {name: whole[name] for name in parts} | {"added_tokens": tokens}


def _check_templates(processor: Any) -> None:
    """Raise `ValueError` for a frame of special tokens that it does not define, at which tokenizers panics."""
    if isinstance(processor, dict):
        defined = processor.get("special_tokens")
        for step in (*(processor.get("single") or ()), *(processor.get("pair") or ())):
            if isinstance(step, dict) and "SpecialToken" in step and step["SpecialToken"]["id"] not in (defined or ()):
                raise ValueError(f"the special token {str(step['SpecialToken']['id'])[:100]!r} is not defined")
        for inner in processor.get("processors") or ():
            _check_templates(inner)


def _check_charsmaps(normalizer: Any) -> None:
    """Raise `ValueError` for a SentencePiece table of replacements that is cut short, at which tokenizers panics.

    It is a number, a trie of so many bytes, and the replacements as UTF-8.
    """
    if not isinstance(normalizer, dict):
        return
    for inner in normalizer.get("normalizers") or ():
        _check_charsmaps(inner)
    if normalizer.get("type") == "Precompiled":
        table = base64.b64decode(normalizer["precompiled_charsmap"], validate=True)
        trie = int.from_bytes(table[:4], "little")
        if len(table) < 4 + trie or trie % 4:
            raise ValueError("its table of replacements is cut short")
        table[4 + trie :].decode()
