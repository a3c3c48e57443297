"""Text to token ids, as the model was trained to read them."""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer, Lowercase, Normalizer
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from embedmill.core.errors import ModelError, UnsupportedModel
from embedmill.core.vectors import TokenIds
from embedmill.models.card import Card
from embedmill.models.json_config import Config, check_size, unreadable
from embedmill.models.tokenizer_rules import (
    BERT_LIKE,
    SPECIAL,
    bert_normalizer,
    one_line,
    outline,
    replacements,
    steps_of,
    token_text,
    tokenizer_class,
)

_LARGEST = 256 << 20  # bytes of a tokenizer's file; the largest known have 35 MB
_CHARACTERS_PER_TOKEN = 16  # English has 4 to 5: the first piece of a long text nearly always is enough
_SURROGATES = re.compile("[\ud800-\udfff]")


class Tokenizer:
    """Token ids of texts. Safe to use from several threads.

    The limits and the padding that tokenizer.json may ask for are switched off: the card's limit holds.
    """

    pad_id: int
    special_tokens: int  # how many are added to each text

    def __init__(self, card: Card) -> None:
        settings = tokenizer_settings(card)
        self._tokenizer = _load(card, settings)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        # Whether special tokens that are written in a text are read as words.
        self._tokenizer.encode_special_tokens = settings.boolean("split_special_tokens", False)
        rest = self._tokenizer.normalizer
        if card.do_lower_case and not any(step["type"] == "Lowercase" for step in _steps(rest)):
            self._tokenizer.normalizer = Normalizers([Lowercase(), *([rest] if rest else [])])
        self._max_tokens = card.max_tokens
        self._left = settings.text("truncation_side", "right") == "left"
        self._where = _definition(card.folder)
        self._prefix, self._suffix = self._frame(card.vocab_size)
        self.special_tokens = self._prefix + self._suffix
        padding = token_text(settings.value("pad_token"))
        found = None if padding is None else self._tokenizer.token_to_id(padding)
        self.pad_id = card.pad_token_id if found is None else found
        self._unknown = _unknown_id(self._tokenizer, settings)
        self._blank = self._tokenizer.token_to_id("\u2581")  # SentencePiece's space, where nothing follows it
        self._boundary = None if self._left else _word_boundary(self._tokenizer)

    def encode(self, texts: Sequence[str], prompt: str = "", truncate: bool = True) -> list[TokenIds]:
        """Each text's ids with the prompt before it, special tokens included.

        Truncated ids keep the special tokens at both ends and are exactly the card's `max_tokens`. Characters
        that are no text (lone surrogates) count as U+FFFD.
        """
        inputs = [prompt + text for text in texts] if prompt else list(texts)
        if not truncate:
            return self._ids(inputs)
        first = _CHARACTERS_PER_TOKEN * self._max_tokens
        pieces = [self._piece(text, first) for text in inputs]
        return [
            self._cut(ids if self._enough(ids, piece, text) else self._first_tokens(text, first))
            for ids, piece, text in zip(self._ids(pieces), pieces, inputs, strict=True)
        ]

    def unknown(self, ids: TokenIds, prompt: str = "") -> tuple[int, int]:
        """How many tokens of a text stand for what the vocabulary does not have, and how many there are.

        Special tokens and those of the prompt do not count.
        """
        unknown, content = self._counts(ids)
        if prompt:
            of_prompt = self._counts(self._ids([prompt])[0])
            unknown, content = max(unknown - of_prompt[0], 0), max(content - of_prompt[1], 0)
        return unknown, content

    def _counts(self, ids: TokenIds) -> tuple[int, int]:
        unknown = 0 if self._unknown is None else int(np.count_nonzero(ids == self._unknown))
        blank = 0 if self._blank is None else int(np.count_nonzero(ids == self._blank))
        return unknown, len(ids) - self.special_tokens - blank

    def _ids(self, texts: list[str]) -> list[TokenIds]:
        with one_line(self._where):
            try:
                encodings = self._tokenizer.encode_batch_fast(texts)
            except TypeError:  # what tokenizers says to a lone surrogate
                if not any(_SURROGATES.search(text) for text in texts):
                    raise
                encodings = self._tokenizer.encode_batch_fast([_SURROGATES.sub("�", text) for text in texts])
            return [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]

    def _cut(self, ids: TokenIds) -> TokenIds:
        if len(ids) <= self._max_tokens:
            return ids
        first = self._prefix if self._left else self._max_tokens - self._suffix
        return np.concatenate([ids[:first], ids[len(ids) - self._max_tokens + first :]])

    # Tokenising 10 MB takes seconds and a gigabyte, all for the first few hundred tokens. A piece of the text
    # that ends where a word ends has the same tokens as the whole text, as far as it reaches.

    def _first_tokens(self, text: str, characters: int) -> TokenIds:
        """Ids of a beginning of the text that is long enough: four times as long at each attempt."""
        while True:
            characters *= 4
            piece = self._piece(text, characters)
            ids = self._ids([piece])[0]
            if self._enough(ids, piece, text):
                return ids

    def _piece(self, text: str, characters: int) -> str:
        """The text's first characters, cut where a word ends; the whole text where it is not longer."""
        if self._boundary is None or len(text) <= characters:
            return text
        found = self._boundary.search(text, characters)
        return text[: found.start()] if found else text

    def _enough(self, ids: TokenIds, piece: str, text: str) -> bool:
        return len(piece) == len(text) or len(ids) >= self._max_tokens

    def _frame(self, vocabulary: int | None) -> tuple[int, int]:
        """How many special tokens come before a text and after it. They must be of the model's vocabulary."""
        with one_line(self._where):
            whole = self._tokenizer.encode("a").ids
            inner = self._tokenizer.encode("a", add_special_tokens=False).ids
        if vocabulary is not None and max(whole, default=0) >= vocabulary:
            raise ModelError(
                f"{self._where}: token {max(whole)} is beyond the model's vocabulary of {vocabulary}: "
                "tokenizer and weights belong to different models, fetch them again"
            )
        added = len(whole) - len(inner)
        before = next((n for n in range(added + 1) if whole[n : n + len(inner)] == inner), None)
        if before is None:
            raise UnsupportedModel(f"{self._where}: it puts other things around a text than special tokens")
        return before, added - before


def tokenizer_sha256(card: Card) -> str:
    """SHA-256 of what decides a text's ids: the tokenizer's file and the settings that override it. Hex."""
    settings, own = tokenizer_settings(card), Config.read_if_there(card.folder / _SETTINGS)
    decisive = [own.value(name) for name in ("tokenizer_class", *_OVERRIDES)] + [settings.value("truncation_side")]
    path = _definition(card.folder)
    try:
        definition = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    facts: list[Any] = [path.name, card.do_lower_case, decisive]
    if path.name == "tokenizer.json":
        facts += _further(path, settings, own, Config.read(card.folder / "config.json"))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode() + b"\0" + definition).hexdigest()


def _further(path: Path, settings: Config, own: Config, config: Config) -> list[Any]:
    """What else the settings change, beside what the overrides of BERT's normaliser have always told."""
    sections = outline(path)
    changes = replacements(path, sections, settings, config)
    normalizer = sections["normalizer"]
    if (
        own.text("tokenizer_class", "BertTokenizer").removesuffix("Fast") in BERT_LIKE
        and isinstance(normalizer, dict)
        and normalizer.get("type") == "BertNormalizer"
    ):
        normalizer = bert_normalizer(own)
    if changes.get("normalizer", sections["normalizer"]) == normalizer:
        changes.pop("normalizer", None)
    else:
        changes.setdefault("normalizer", sections["normalizer"])
    if settings.boolean("split_special_tokens", False):
        changes["split_special_tokens"] = True
    return [changes] if changes else []


def tokenizer_settings(card: Card) -> Config:
    """tokenizer_config.json, with what other files add to it and override, in transformers' order."""
    own = Config.read_if_there(card.folder / _SETTINGS)
    values = {name: own.value(name) for name in own.names()} | dict(card.tokenizer_overrides)
    if "added_tokens_decoder" not in values:  # as old files have it
        special = Config.read_if_there(card.folder / "special_tokens_map.json")
        values |= {name: special.value(name) for name in special.names()}
    return Config(own.path, values)


_SETTINGS = "tokenizer_config.json"
_OVERRIDES = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")


def _definition(folder: Path) -> Path:
    for name in ("tokenizer.json", "vocab.txt"):
        if (folder / name).is_file():
            check_size(folder / name, _LARGEST)
            return folder / name
    raise ModelError(f"{folder}: tokenizer.json is missing: fetch the model again")


def _load(card: Card, settings: Config) -> tokenizers.Tokenizer:
    path, config = _definition(card.folder), Config.read(card.folder / "config.json")
    with one_line(path):
        if path.name == "tokenizer.json":
            changes = replacements(path, outline(path), settings, config)
            tokenizer = _changed(path, changes) if changes else tokenizers.Tokenizer.from_file(str(path))
            known = getattr(tokenizer.model, "unk_token", None)
            said = token_text(settings.value("unk_token"))
            if tokenizer_class(settings, config) in BERT_LIKE and said not in (None, known):
                raise UnsupportedModel(f"{settings.path}: 'unk_token' is not {known!r}, which {path.name} has")
            return tokenizer
        if tokenizer_class(settings, config) not in BERT_LIKE:
            raise ModelError(f"{card.folder}: tokenizer.json is missing, and vocab.txt alone is enough for BERT only")
        return _from_vocabulary(path, settings, config)


def _changed(path: Path, changes: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """The tokenizer of the file, with these sections instead of its own."""
    whole = json.loads(path.read_bytes()) | changes
    added = whole["added_tokens"]
    if "added_tokens" in changes:
        whole["added_tokens"] = []
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(whole))
    if "added_tokens" in changes:
        for token in added:  # one by one, since special ones are added by a call of their own
            flags = {name: value for name, value in token.items() if name != "content"}
            add = tokenizer.add_special_tokens if token["special"] else tokenizer.add_tokens
            add([tokenizers.AddedToken(token["content"], **flags)])
    return tokenizer


def _from_vocabulary(path: Path, settings: Config, config: Config) -> tokenizers.Tokenizer:
    """BERT's tokenizer from its list of word pieces, one a line."""
    vocabulary = {line.rstrip("\n"): n for n, line in enumerate(path.read_text("utf-8").split("\n")) if line}
    defaults = SPECIAL[tokenizer_class(settings, config)]
    names = ("cls", "sep", "pad", "mask", "unk")
    special = {name: token_text(settings.value(f"{name}_token")) or defaults[name] for name in names}
    for name in special.values():
        if name not in vocabulary:
            raise ModelError(f"{path}: the special token {name!r} is missing: fetch the model again")
    tokenizer = tokenizers.Tokenizer(WordPiece(vocabulary, unk_token=special["unk"]))
    steps = bert_normalizer(settings)
    tokenizer.normalizer = BertNormalizer(**{name: value for name, value in steps.items() if name != "type"})
    tokenizer.pre_tokenizer = BertPreTokenizer()
    cls, sep = special["cls"], special["sep"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}", special_tokens=[(cls, vocabulary[cls]), (sep, vocabulary[sep])]
    )
    tokenizer.add_special_tokens(list(special.values()))
    return tokenizer


def _steps(normalizer: Normalizer | None) -> list[dict[str, Any]]:
    """The normaliser's steps, as tokenizer.json writes them."""
    return steps_of(None if normalizer is None else json.loads(normalizer.__getstate__()), "normalizers")


def _unknown_id(tokenizer: tokenizers.Tokenizer, settings: Config) -> int | None:
    """The id of the token for what the vocabulary does not have; None where it has everything, as bytes."""
    names = (getattr(tokenizer.model, "unk_token", None), token_text(settings.value("unk_token")), "<unk>")
    known = (tokenizer.token_to_id(name) for name in names if isinstance(name, str))
    return next((number for number in known if number is not None), None)


def _word_boundary(tokenizer: tokenizers.Tokenizer) -> re.Pattern[str] | None:
    """Matches a character before which every word ends; None where the tokenizer gives no such promise.

    BERT's splits at white space, around punctuation and around Chinese characters, and normalises each
    character by itself. A character of an added token, such as the bracket of "[MASK]", promises nothing.
    """
    steps = _steps(tokenizer.normalizer)
    by_character = all(step["type"] in ("BertNormalizer", "Lowercase") for step in steps)
    if not (by_character and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)):
        return None
    characters = set(" \t\n\r" + string.punctuation)
    for added in tokenizer.get_added_tokens_decoder().values():
        characters -= set(added.content)
    chinese = any(step.get("handle_chinese_chars") for step in steps)
    ideographs = "\u3400-\u4dbf\u4e00-\u9fff" if chinese else ""
    return re.compile("[" + re.escape("".join(sorted(characters))) + ideographs + "]")
