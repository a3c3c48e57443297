"""Make the golden set of the default model that comes with embedmill.

Run by hand, only where the format or the texts change:

    python scripts/make_golden_set.py

The texts are half of those whose vectors by sentence-transformers, in f32, are kept for the tests (see
make_model_fixtures.py): words and sentences of several languages, code, numbers, odd characters, and texts as long as
the model reads and longer. Their vectors are computed here, in f32; that they are those of sentence-transformers is
tested (tests/test_golden.py).
"""

from __future__ import annotations

import json
from pathlib import Path

import embedmill
from embedmill.engine.unread import is_unread
from embedmill.models import DEFAULT_MODEL

_ROOT = Path(__file__).parents[1]
_REFERENCES = _ROOT / "tests" / "fixtures" / "references" / "all-MiniLM-L6-v2.json"
_TARGET = _ROOT / "src" / "embedmill" / "quality" / "golden.jsonl"

_LONGEST = 2000  # characters of a text: more is cut by the model, and only makes the file larger


def main() -> None:
    """Write the file."""
    texts = [text for text in json.loads(_REFERENCES.read_text())["texts"] if text.strip() and len(text) <= _LONGEST]
    with embedmill.load_embedder(DEFAULT_MODEL) as embedder:  # a text of which it knows nothing proves nothing
        ids = embedder.encode(texts)
        texts = [text for text, own in zip(texts, ids, strict=True) if not is_unread(embedder, own, "document")][::2]
    embedmill.golden_record(_TARGET, texts, model=DEFAULT_MODEL, precision="f32", overwrite=True)
    print(f"{len(texts)} texts, {_TARGET.stat().st_size:,} bytes: {_TARGET}")


if __name__ == "__main__":
    main()
