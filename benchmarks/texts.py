"""What is embedded and indexed: the sources of Python's standard library, cut and copied by a fixed seed."""

from __future__ import annotations

import hashlib
import random
import shutil
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from embedmill.chunking.chunker import chunk
from embedmill.chunking.options import Chunking
from embedmill.core.documents import Document, Entry, Kind, text_hash
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.vectors import Batch
from embedmill.engine.batching import batches
from embedmill.sources.files.source import FileSource

SEED = 20250101

_OTHERS = {"site-packages", "dist-packages", "__pycache__", "lib2to3"}  # not the standard library, or no plain text
_TESTS = {"test", "tests", "idle_test"}  # kept out: thousands of lines of tables

_MEDIAN_CHARACTERS, _SPREAD = 400, 0.65
"""Of a chunk's length, log-normal: 140 tokens in the mean, and one chunk in ten beyond the model's 256."""

_LARGEST = 64 << 10  # bytes of a file in a tree: none is much of the whole


def mixed_chunks(count: int) -> list[str]:
    """Different chunks of mixed length: runs of whole lines, as many characters each as the seed says."""
    chance = random.Random(SEED)
    found: dict[str, None] = {}
    for text in _texts(chance):
        lines = iter(text.splitlines(keepends=True))
        while True:
            wanted = chance.lognormvariate(0, _SPREAD) * _MEDIAN_CHARACTERS
            part = ""
            for line in lines:
                part += line
                if len(part) >= wanted:
                    break
            else:
                break  # what is left of a file is shorter than was wanted
            if part.strip():
                found[part] = None
            if len(found) == count:
                return list(found)
    raise SystemExit(f"the standard library has {len(found)} chunks, not {count}: ask for fewer")


def source_tree(folder: Path, files: int, *, largest: int = _LARGEST, tests: bool = False) -> int:
    """Copy so many source files of at most `largest` bytes into the folder; returns their bytes."""
    chance = random.Random(SEED)
    paths = [path for path in _sources(tests) if 0 < path.stat().st_size <= largest]
    if len(paths) < files:
        raise SystemExit(f"the standard library has {len(paths)} files of fitting size, not {files}: ask for fewer")
    for path in chance.sample(paths, files):
        target = folder / path.relative_to(_root())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return sum(path.stat().st_size for path in folder.rglob("*.py"))


def chunks_of(tree: Path, embedder: TokenEmbedder) -> list[str]:
    """What ``embedmill index`` gives the model for a tree: each input once, in the order of the run."""
    source = FileSource([tree])
    chunking = Chunking(embedder.max_tokens)

    def measure(inputs: Sequence[str]) -> list[int]:
        return [len(ids) for ids in embedder.encode(inputs, truncate=False)]

    documents = (source.read(entry) for entry in source.entries())
    parts = (part for document in documents if document for part in chunk(document, measure, chunking))
    return list(dict.fromkeys(part.input for part in parts))


def short_texts(count: int) -> Iterator[str]:
    """Different texts of 4 to 12 words each."""
    chance = random.Random(SEED)
    words = _words(chance)
    for number in range(count):
        yield f"{number}: {' '.join(chance.choices(words, k=chance.randint(4, 12)))}\n"


def varied_texts(count: int, words: int, *, most: int | None = None, seed: int = SEED) -> list[str]:
    """Different texts of one line each, log-normally long: `words` words in the median, never more than `most`."""
    chance = random.Random(seed)
    known = _words(chance)
    sizes = [max(1, round(words * chance.lognormvariate(0, _SPREAD))) for _ in range(count)]
    return [
        f"{number}: {' '.join(chance.choices(known, k=min(size, most or size)))}" for number, size in enumerate(sizes)
    ]


def batches_of(texts: Sequence[str], embedder: TokenEmbedder) -> list[Batch]:
    """What an executor is given for these texts."""
    groups = batches(zip(texts, embedder.encode(texts), strict=True), lambda item: len(item[1]))
    return [Batch(tuple(text for text, _ in group), tuple(ids for _, ids in group)) for group in groups]


class OneTextDocuments:
    """A source of documents of one text each."""

    scopes: Sequence[str] = ("/texts/",)
    skipped: Mapping[str, int] = {}

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = {f"/texts/{number:06}": text for number, text in enumerate(texts)}

    def entries(self) -> Iterator[Entry]:
        return (Entry(name, len(text), 0) for name, text in self._texts.items())

    def read(self, entry: Entry) -> Document:
        text = self._texts[entry.id]
        return Document(entry.id, text, Kind.TEXT, text_hash("", text), entry.size, 0)

    def amount(self) -> int:
        """Bytes of all texts, about."""
        return sum(map(len, self._texts))

    def deselected(self, sizes: Mapping[str, int]) -> Sequence[str]:
        return ()

    def unlisted(self) -> Sequence[str]:
        return ()


def description(texts: Sequence[str], lengths: Sequence[int]) -> dict[str, object]:
    """What a corpus is, for a result's file; `lengths` in tokens."""
    ordered = sorted(lengths)
    return {
        "chunks": len(texts),
        "tokens": sum(ordered),
        "mean tokens": round(sum(ordered) / len(ordered), 1),
        "95th percentile": ordered[int(0.95 * (len(ordered) - 1))],
        "sha256": hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16],
    }


def _texts(chance: random.Random, most: int | None = None) -> Iterator[str]:
    paths = _sources()
    chance.shuffle(paths)
    for path in paths[:most]:
        yield path.read_text("utf-8", errors="replace")


def _words(chance: random.Random) -> list[str]:
    return sorted({word for text in _texts(chance, most=50) for word in text.split() if word.isalpha()})


def _sources(tests: bool = False) -> list[Path]:
    root, left_out = _root(), _OTHERS if tests else _OTHERS | _TESTS
    return [path for path in sorted(root.rglob("*.py")) if not left_out & set(path.relative_to(root).parts)]


def _root() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])
