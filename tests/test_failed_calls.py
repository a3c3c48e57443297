"""A call of the model that fails stores nothing: neither nonsense nor the vectors of texts before it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import short_of_memory
from embedmill.core.documents import text_hash
from embedmill.core.errors import ModelError, ModelUnusable
from embedmill.core.vectors import Batch, Vectors
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.engine.validation import bisect_failures
from embedmill.executors.processes.pool import EmbedderPool
from embedmill.executors.threads import ThreadExecutor
from embedmill.models import ModelFiles, locate, read_card
from embedmill.storage.cache.cache import PersistentCache
from embedmill.storage.registry import open_store

FIXTURES = Path(__file__).parent / "fixtures"
THREADS = pytest.mark.parametrize("threads", [1, 2])
"""One stream and one thread, as on one core and in every worker of a pool, and two."""


def small(threads: int) -> OpenVINOEmbedder:
    folder = FIXTURES / "models" / "bert-mean"
    return OpenVINOEmbedder("small", read_card(locate(str(folder))), precision="f32", streams=threads, threads=threads)


def too_long(embedder: OpenVINOEmbedder, texts: int = 1) -> Batch:
    """Texts of more tokens than the model has positions, as no tokenizer of ours gives them."""
    ids = np.full(16 * embedder.max_tokens, 5, np.int32)
    return Batch(tuple(f"long {number}" for number in range(texts)), (ids,) * texts)


def batch_of(embedder: OpenVINOEmbedder, *texts: str) -> Batch:
    return Batch(texts, tuple(embedder.encode(texts)))


@THREADS
def test_a_length_beyond_the_positions_raises(threads: int) -> None:
    """OpenVINO's own `infer` returns the vectors of the batch before, with one stream and one thread."""
    embedder = small(threads)
    sound = batch_of(embedder, "one text", "another")
    expected = embedder.infer(sound)
    with pytest.raises(RuntimeError, match=r"OpenVINO failed: .*mismatch"):
        embedder.infer(too_long(embedder))
    np.testing.assert_array_equal(embedder.infer(sound), expected)
    assert embedder.failures == 2  # it was tried again on a model that was compiled anew
    embedder.close()


def test_the_report_to_its_authors_holds() -> None:
    """The example in docs/openvino-swallowed-error.md; another version of OpenVINO may have mended the first line."""
    text = (Path(__file__).parents[1] / "docs" / "openvino-swallowed-error.md").read_text()
    infer, waited = alone("-c", text.partition("```python\n")[2].partition("```")[0])
    assert infer in ("infer: no error; the output is [2. 3. 4.]", "infer: RuntimeError")
    assert waited == "start_async and wait: RuntimeError"


@THREADS
def test_only_the_text_that_fails_is_blamed(threads: int) -> None:
    embedder = small(threads)
    one, other = batch_of(embedder, "one text"), batch_of(embedder, "another")
    expected = embedder.infer(one), embedder.infer(other)
    long = too_long(embedder)
    mixed = Batch(one.texts + long.texts + other.texts, one.ids + long.ids + other.ids)
    embedded, _ = bisect_failures(embedder, mixed)
    assert list(embedded.causes) == [1]
    np.testing.assert_allclose(embedded.vectors[[0, 2]], np.concatenate(expected), atol=2e-6)
    assert np.isnan(embedded.vectors[1]).all()


def test_a_model_that_fails_on_whatever_text_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino as ov

    def fails(request: object, *arguments: object, **named: object) -> None:
        raise RuntimeError("Exception from src/x.cpp:1:\nKernel is empty!\n\n")

    monkeypatch.setattr(ov.InferRequest, "wait", fails)
    embedder = small(1)
    executor = ThreadExecutor(embedder)
    with pytest.raises(ModelUnusable, match=r"small: the model fails on whatever text \(Kernel is empty!\)"):
        list(executor.run([batch_of(embedder, "one", "two")]))


def test_a_call_that_does_nothing_and_says_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another version does: an output that was not written is no vector."""
    import openvino as ov

    embedder = small(2)
    sound = batch_of(embedder, "one text", "another")
    expected = embedder.infer(sound)
    real: Callable[..., None] = ov.InferRequest.start_async
    skipped: list[object] = []

    def idle(request: ov.InferRequest, *arguments: object, **named: object) -> None:
        if len(skipped) < 1:
            skipped.append(request)
        else:
            real(request, *arguments, **named)

    monkeypatch.setattr(ov.InferRequest, "start_async", idle)
    for _ in range(4):  # each of the requests
        skipped.clear()
        np.testing.assert_array_equal(embedder.infer(sound), expected)
    assert embedder.failures == 4


def test_a_model_that_cannot_be_loaded_anew_is_no_fault_of_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = small(1)
    expected = embedder.infer(batch_of(embedder, "one"))
    assert np.isfinite(expected).all()

    def no_memory(*arguments: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("embedmill.models.graph.build", no_memory)
    with pytest.raises(ModelUnusable, match=r"Cannot allocate memory.*could not be loaded anew: free some memory"):
        bisect_failures(embedder, too_long(embedder, texts=4))


def test_a_first_load_without_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("embedmill.models.graph.build", no_memory)
    with pytest.raises(ModelError, match=r"small: OpenVINO cannot compile the model \(Cannot allocate memory\)"):
        small(1).load()


def test_a_worker_whose_model_failed_is_replaced() -> None:
    embedder = small(1)
    sound = batch_of(embedder, "one text", "another")
    expected = embedder.infer(sound)
    with EmbedderPool(small, workers=1) as pool:
        found = list(pool.run([sound, too_long(embedder), *[sound] * 8]))
        while not pool.restarts:  # its successor has to be ready first
            time.sleep(0.05)
        causes = pool.stats()[0].causes
    assert [dict(each.causes) != {} for each in found] == [False, True, *[False] * 8]
    for each in found[:1] + found[2:]:
        np.testing.assert_allclose(each.vectors, expected, atol=2e-6)
    assert "mismatch" in found[1].causes[0].message
    assert causes.get("model failure") == 1


_RECOVERS = """
import sys
import numpy as np
import short_of_memory
from embedmill.core.vectors import Batch

embedder = short_of_memory.whole(int(sys.argv[1]))
texts = [f"{number} " + "word " * 300 for number in range(32)]
large = Batch(tuple(texts), tuple(embedder.encode(texts)))
small = Batch(("one text", "another"), tuple(embedder.encode(["one text", "another"])))
before = embedder.infer(small)
for _ in range(4):
    np.testing.assert_array_equal(embedder.infer(small), before)
short_of_memory.limit_memory()
try:
    embedder.infer(large)
    print("no error")
except short_of_memory.EmbedmillError as error:
    print(error)
short_of_memory.unlimit_memory()
after = embedder.infer(large)
np.testing.assert_array_equal(embedder.infer(small), before)
np.testing.assert_allclose(embedder.infer(large.part(31, 32)), after[[31]], atol=2e-6)
print("recovered", flush=True)
"""


def alone(*arguments: object, strict: bool = True) -> list[str]:
    """The lines that a process of its own prints."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.stdout or not strict, done.stderr
    return done.stdout.splitlines()


@THREADS
def test_a_model_recovers_when_there_is_memory_again(real_model: ModelFiles, threads: int) -> None:
    said, recovered = alone("-c", _RECOVERS, threads)
    assert "memory is too short to embed" in said
    assert recovered == "recovered"


@pytest.fixture(scope="module")
def right(real_model: ModelFiles) -> OpenVINOEmbedder:
    return short_of_memory.whole(2)


def documents(folder: Path) -> list[str]:
    """Files of one chunk each, none of whose texts is another's; their texts."""
    (folder / "docs").mkdir()
    topics = ["ships", "bread", "law", "snow", "music", "glass", "bees", "money"]
    texts = [f"{topic} of kind {number} " * 50 for number in range(3) for topic in topics]
    for number, text in enumerate(texts):
        (folder / "docs" / f"{number:02}.txt").write_text(text)
    return texts


def assert_right(vectors: Vectors, texts: list[str], right: OpenVINOEmbedder) -> None:
    assert np.abs(vectors - right.embed(texts)).max() < 1e-4


@pytest.mark.parametrize("executor", ["threads", "processes"])
@THREADS
def test_no_wrong_vector_is_stored_or_cached(
    tmp_path: Path, right: OpenVINOEmbedder, executor: str, threads: int
) -> None:
    """136 of 152 vectors were those of other texts, with exit code 0; a later run took them from the cache."""
    texts = documents(tmp_path)
    # It ends in one line, mostly, or by the signal of a library that could not bear it; or there was room after all.
    alone("short_of_memory.py", tmp_path, executor, threads, strict=False)
    by_hash = {text_hash("", text.rstrip()): text.rstrip() for text in texts}
    with closing(open_store(f"sqlite:{tmp_path / 'index.db'}", write=False)) as store:
        stored = store.vectors(list(by_hash), "f32")
        assert not list(store.failures())
    with PersistentCache(tmp_path / "vectors.db") as cache:
        cached = cache.get_many(list(by_hash), right.fingerprint)
    for found in (stored, cached):
        if found:
            assert_right(np.stack(list(found.values())), [by_hash[key] for key in found], right)

    said = short_of_memory.index(tmp_path, right, ThreadExecutor(right))  # the next run
    assert said.startswith("failed 0")
    with closing(open_store(f"sqlite:{tmp_path / 'index.db'}", write=False)) as store:
        assert not list(store.verify())
        stored = store.vectors(list(by_hash), "f32")
    assert len(stored) == len(texts)
    assert_right(np.stack(list(stored.values())), [by_hash[key] for key in stored], right)
