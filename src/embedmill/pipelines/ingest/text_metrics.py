"""What is counted of a row's text."""

from __future__ import annotations

import hashlib
import unicodedata

from embedmill.core.rows import DIGEST_SIZE, Metrics


def normalised(text: str) -> str:
    """The text in one form for all spellings that read alike: NFKC, case folded, white space as single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def measure(text: str, tokens: int | None) -> Metrics:
    """Count a text; `tokens` is what the model's tokenizer makes of it, special tokens included."""
    digest = hashlib.blake2b(normalised(text).encode("utf-8", "replace"), digest_size=DIGEST_SIZE).digest()
    return Metrics(len(text), len(text.split()), tokens, digest)
