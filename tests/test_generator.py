"""Vectors on chunks: order, failures, retries, counts, and what ends a run."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmill import (
    Chunk,
    EmbeddingError,
    EmbeddingGenerationError,
    EmbeddingGenerator,
    ModelUnusable,
    ModelValidationError,
    UsageError,
)
from embedmill.core.vectors import Batch, Vectors
from faulty import DIMENSION, LightEmbedder
from troubled import SMALL_MODEL, small_embedder

SMALL = str(SMALL_MODEL)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))


class Odd(LightEmbedder):
    """Gives something else than vectors where a text says so."""

    def __init__(self, failures: int = -1) -> None:
        self.failures = failures  # of marked texts, that are raised; -1 for all
        self.calls: list[int] = []
        self.tried = 0  # the text that each model is tried with
        self._lock = threading.Lock()

    def infer(self, batch: Batch) -> Vectors:
        with self._lock:
            if batch.texts[0].startswith("The quick brown fox"):
                self.tried += 1
            else:
                self.calls.append(len(batch.texts))
        vectors: Any = super().infer(batch)
        for row, text in enumerate(batch.texts):
            if "RAISE" in text and self.failures:
                with self._lock:
                    self.failures -= 1
                raise ValueError("harm was done")
            if "NAN" in text:
                vectors[row, 0] = np.nan
            if "FEW" in text:
                return vectors[:-1]  # type: ignore[no-any-return]
            if "WIDE" in text:
                return np.ones((len(vectors), DIMENSION + 1), np.float32)
            if "DOUBLE" in text:
                return vectors.astype(np.float64)  # type: ignore[no-any-return]
        return vectors  # type: ignore[no-any-return]


def chunks(number: int, **marked: str) -> list[Chunk]:
    """So many chunks; ``_7="RAISE"`` marks the seventh."""
    return [
        Chunk(
            text=f"text number {row} {'word ' * (row % 13)}{marked.get(f'_{row}', '')}",
            source_file=f"file {row % 3}",
            source_category="tests",
            document_date="2026-11-27",
            chunk_index=row,
            total_chunks=number,
            token_count=row,
            context=f"Heading {row % 2}",
            metadata={"row": row},
        )
        for row in range(number)
    ]


def test_every_chunk_gets_its_own_vector_and_is_otherwise_as_it_was() -> None:
    """findings, flaws: results in completion order."""
    given = chunks(200)
    random.Random(3).shuffle(given)
    copies = [replace(chunk) for chunk in given]
    with EmbeddingGenerator(model=SMALL, cache=False) as generator:
        found = generator.process_chunks(given)
        expected = generator.generate_embeddings_for_texts([chunk.input for chunk in given])
    assert found == given == copies  # the embedding is no part of that
    assert [chunk.embedding for chunk in given] == [None] * 200
    for chunk, vector in zip(found, expected, strict=True):
        assert chunk.embedding is not None and chunk.provenance is not None
        np.testing.assert_allclose(chunk.embedding, vector, rtol=0, atol=2e-2)  # in batches of other lengths
        assert (chunk.embedding.dtype, chunk.embedding.shape) == (np.float32, (generator.dimension,))
        assert chunk.provenance.hash == chunk.hash and chunk.cause is None


def test_processes_give_what_threads_give() -> None:
    given = chunks(60)
    with EmbeddingGenerator(model=SMALL, cache=False) as threads:
        expected = threads.process_chunks(given)
    with EmbeddingGenerator(model=SMALL, use_threading=False, num_workers=2, cache=False) as processes:
        found = processes.process_chunks(given)
        assert processes.get_statistics()["num_workers"] == 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, rtol=0, atol=2e-2)  # type: ignore[arg-type]


@pytest.mark.parametrize("mark", ["RAISE", "NAN", "FEW", "WIDE"])
def test_one_bad_chunk_fails_alone_with_its_cause(mark: str) -> None:
    given = chunks(50, _17=mark)
    with EmbeddingGenerator(model=Odd(), cache=False) as generator:
        found = generator.process_chunks(given)
        counted = generator.get_statistics()
    assert [row for row, chunk in enumerate(found) if chunk.embedding is None] == [17]
    assert found[17] == given[17] and found[17].cause is not None and found[17].cause.message
    assert (counted["processed_chunks"], counted["failed_chunks"], counted["total_chunks"]) == (49, 1, 50)
    assert counted["retried_chunks"] == 1


def test_vectors_of_doubles_are_taken_as_float32() -> None:
    with EmbeddingGenerator(model=Odd(), cache=False) as generator:
        (found,) = generator.process_chunks([Chunk("DOUBLE")])
    assert found.embedding is not None and found.embedding.dtype == np.float32


@pytest.mark.parametrize(("retry", "failed", "retried"), [(True, 0, 2), (False, 2, 0)])
def test_what_failed_is_tried_once_more_if_that_is_wanted(retry: bool, failed: int, retried: int) -> None:
    """findings, flaws: options such as `retry_failed` accepted and ignored."""
    given = chunks(40, _5="RAISE", _6="RAISE")
    # Each is refused in its batch, and in the parts of it down to itself: 2 texts, as many times as a batch is halved.
    model = Odd()
    with EmbeddingGenerator(model=model, num_workers=1, cache=False) as generator:
        generator.process_chunks(given, retry_failed=False)
    refusals = -1 - model.failures
    with EmbeddingGenerator(model=Odd(failures=refusals), num_workers=1, cache=False) as generator:
        found = generator.process_chunks(given, retry_failed=retry)
        assert sum(chunk.cause is not None for chunk in found) == generator.failed_chunks == failed
        assert generator.retried_chunks == retried


def test_texts_that_are_none_or_empty_fail_alone_and_need_no_model() -> None:
    """findings, flaws: one empty text failing its whole batch."""
    odd: Any = None
    given = [Chunk("one"), Chunk(""), Chunk(" \n\t"), Chunk(odd), Chunk("two"), Chunk(" ", context="a heading")]
    model = Odd()
    with EmbeddingGenerator(model=model, cache=False) as generator:
        found = generator.process_chunks(given)
        assert [chunk.cause and chunk.cause.type for chunk in found] == [
            None,
            "EmptyText",
            "EmptyText",
            "TypeError",
            None,
            "EmptyText",
        ]
        assert found[3].cause is not None and found[3].cause.message == "the text is a NoneType"
        (found_out,) = generator.process_chunks([Chunk("three", context=odd)])
        assert found_out.cause and found_out.cause.message == "the context is a NoneType"
        told: list[tuple[int, int]] = []
        ten_thousand = generator.process_chunks([Chunk("")] * 10_000, lambda *done: told.append(done))
        assert all(chunk.cause and chunk.cause.type == "EmptyText" for chunk in ten_thousand)
        assert told == [(10_000, 10_000)] and (sum(model.calls), model.tried) == (2, 1)
        assert generator.process_chunks([]) == []
        with pytest.raises(ValueError, match="no texts"):
            generator.generate_embeddings_for_texts([])
        with pytest.raises(EmbeddingError, match="text 1: EmptyText") as caught:
            generator.generate_embeddings_for_texts(["one", "", "two"])
        assert list(caught.value.causes) == [1] and np.isfinite(caught.value.vectors[[0, 2]]).all()


def test_progress_never_goes_back_and_ends_with_all() -> None:
    told: list[tuple[int, int]] = []
    with EmbeddingGenerator(8, model=Odd(), cache=False) as generator:
        generator.process_chunks(
            [*chunks(100, _3="RAISE", _99="NAN"), Chunk("")], lambda done, total: told.append((done, total))
        )
    done = [each for each, _ in told]
    assert done == sorted(set(done)) and {total for _, total in told} == {101}
    assert told[-1] == (101, 101) and len(told) > 5


def test_a_model_that_fails_altogether_ends_the_run_after_five_batches() -> None:
    """Instead of failing 2,600 chunks one by one."""
    model = Odd()
    with EmbeddingGenerator(10, 1, model=model, cache=False) as generator:
        with pytest.raises(EmbeddingGenerationError, match=r"first 5 batches .* ValueError: harm was done") as caught:
            generator.process_chunks([Chunk(f"RAISE {row:05}") for row in range(2600)])
        assert len(caught.value.chunks) == 2600
        reasons = caught.value.__cause__
        assert isinstance(reasons, EmbeddingError) and "text 0: ValueError: harm was done" in str(reasons)
        assert 'raise ValueError("harm was done")' in "".join(reasons.__notes__)
        assert generator.failed_chunks == generator.total_chunks == len(reasons.causes) == 50
        assert reasons.vectors.shape == (2600, DIMENSION) and np.isnan(reasons.vectors).all()
        assert [chunk.cause for chunk in caught.value.chunks[:50]] == list(reasons.causes.values())
        assert all(chunk.cause is None and chunk.embedding is None for chunk in caught.value.chunks[50:])
        assert max(model.calls) == 10 and sum(calls == 10 for calls in model.calls) <= 10  # a few were begun
        # A run whose first batches have some that succeed goes on.
        found = generator.process_chunks([Chunk(f"{'RAISE' if row else 'fine'} {row:05}") for row in range(100)])
        assert sum(chunk.embedding is not None for chunk in found) == 1


def with_streams(streams: int) -> Odd:
    model = Odd()
    model.workers = streams
    return model


@pytest.mark.parametrize("streams", [1, 16])
def test_a_few_texts_that_fail_are_not_the_model(streams: int) -> None:
    """However many batches a short list is divided into."""
    texts = [f"RAISE {row} {'word ' * 90}" for row in range(8)]
    with EmbeddingGenerator(num_workers=1, model=with_streams(streams), cache=False) as generator:
        found = generator.process_chunks([Chunk(text) for text in [*texts, "fine", "fine too"]])
        assert generator.batches - 8 >= min(streams, 8), "beside those that are tried again"
    assert [chunk.embedding is not None for chunk in found] == [False] * 8 + [True] * 2


@pytest.mark.parametrize("streams", [1, 16])
def test_a_model_that_fails_is_given_up_with_any_number_of_streams(streams: int) -> None:
    with EmbeddingGenerator(num_workers=1, model=with_streams(streams), cache=False) as generator:
        with pytest.raises(EmbeddingGenerationError, match="batches have failed to the last chunk"):
            generator.process_chunks([Chunk(f"RAISE {row:05}") for row in range(2600)])
        assert generator.failed_chunks == 160, "five batches of 32 texts"


def test_a_model_that_cannot_be_loaded_is_the_cause() -> None:
    class Unloadable(LightEmbedder):
        def load(self) -> None:
            raise EmbeddingError("cannot be loaded", np.empty(0, np.float32), {})

    with (
        EmbeddingGenerator(model=Unloadable(), cache=False) as generator,
        pytest.raises(EmbeddingGenerationError, match="cannot be loaded") as caught,
    ):
        generator.process_chunks(chunks(3))
    assert isinstance(caught.value.__cause__, EmbeddingError) and list(caught.value.chunks) == chunks(3)


@pytest.mark.parametrize("error", [OSError("the disk is gone"), SystemExit("goodbye")])
def test_whatever_loading_an_own_embedder_raises_is_the_cause(error: BaseException) -> None:
    class Unloadable(LightEmbedder):
        def load(self) -> None:
            raise error

    with (
        EmbeddingGenerator(model=Unloadable(), cache=False) as generator,
        pytest.raises(EmbeddingGenerationError, match=r"the disk is gone|goodbye") as caught,
    ):
        generator.process_chunks(chunks(3))
    assert caught.value.__cause__ is not None and caught.value.__cause__.__cause__ is error


def test_a_model_that_gives_no_sound_vector_at_all_is_told_at_once() -> None:
    class Broken(LightEmbedder):
        def infer(self, batch: Batch) -> Vectors:
            return super().infer(batch) * np.float32(np.nan)

    with (
        EmbeddingGenerator(model=Broken(), cache=False) as generator,
        pytest.raises(EmbeddingGenerationError, match="light gives no sound vector") as caught,
    ):
        generator.process_chunks(chunks(3))
    assert isinstance(caught.value.__cause__, ModelValidationError)


def test_a_text_that_cannot_be_tokenised_fails_alone() -> None:
    class Stumbling(LightEmbedder):
        def encode(self, texts: Sequence[str], **options: Any) -> Any:
            if any("STUMBLE" in text for text in texts):
                raise ValueError("no tokens for this")
            return super().encode(texts, **options)

    given = chunks(150, _7="STUMBLE", _70="STUMBLE", _149="STUMBLE")
    with EmbeddingGenerator(model=Stumbling(), cache=False) as generator:
        made = generator.process_chunks(given)
        assert [row for row, chunk in enumerate(made) if chunk.embedding is None] == [7, 70, 149]
        assert made[7].cause is not None and made[7].cause.message == "no tokens for this"
        assert (generator.processed_chunks, generator.failed_chunks, generator.total_chunks) == (147, 3, 150)
        with pytest.raises(EmbeddingError, match="1 of 2 texts have no vector, the first of them text 1"):
            generator.generate_embeddings_for_texts(["a text", "STUMBLE"])


def test_a_callback_that_raises_ends_the_run_with_the_work_so_far() -> None:
    def refuse(done: int, total: int) -> None:
        if done >= 30:
            raise KeyError("enough")

    model = Odd()
    others = set(threading.enumerate())  # of tests before
    with EmbeddingGenerator(10, model=model) as generator:
        with pytest.raises(EmbeddingGenerationError, match="progress_callback raised KeyError") as caught:
            generator.process_chunks(chunks(2000), refuse)
        assert isinstance(caught.value.__cause__, KeyError)
        made = [chunk for chunk in caught.value.chunks if chunk.embedding is not None]
        assert 30 <= len(made) == generator.processed_chunks < 2000
        assert not [each for each in threading.enumerate() if each.name.startswith("embedmill") and each not in others]
        # What was paid for is in the cache, and on the chunks: nothing of it is computed again.
        before = sum(model.calls)
        found = generator.process_chunks(list(caught.value.chunks))
        assert all(chunk.embedding is not None for chunk in found)
        assert generator.kept_chunks == len(made) and sum(model.calls) - before <= 2000 - len(made)


def test_a_vector_is_kept_where_it_is_that_of_the_text_and_of_the_model() -> None:
    model = Odd()
    with EmbeddingGenerator(model=model, cache=False) as generator:
        first = generator.process_chunks(chunks(20))
        model.calls.clear()
        again = generator.process_chunks(first)
        assert model.calls == [] and generator.kept_chunks == 20
        for one, other in zip(again, first, strict=True):
            assert one is not other and one == other and one.provenance == other.provenance
            assert one.embedding is not None and one.embedding is not other.embedding
            np.testing.assert_array_equal(one.embedding, other.embedding)  # type: ignore[arg-type]
        assert first[0].provenance is not None
        stale = [
            replace(first[0], text="another text"),
            replace(first[1], context="another heading"),
            replace(first[2], provenance=None),
            replace(first[3], provenance=replace(first[0].provenance, hash=first[3].hash, model="renamed")),
            replace(first[4], embedding=np.full_like(first[4].embedding, np.nan)),  # put in place by hand, as these
            replace(first[5], embedding=np.ones(3, np.float32)),
            replace(first[6], embedding=[1.0, 2.0]),  # type: ignore[arg-type]
        ]
        found = generator.process_chunks(stale)
        assert sum(model.calls) == generator.recomputed_chunks == 6  # the model's name is no part of its vectors
        expected = generator.process_chunks([replace(chunk, embedding=None) for chunk in stale])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.embedding, other.embedding)  # type: ignore[arg-type]


def test_equal_texts_are_embedded_once_and_have_vectors_of_their_own() -> None:
    model = Odd()
    with EmbeddingGenerator(model=model, cache=False) as generator:
        one, other = generator.process_chunks([Chunk("the same", "a"), Chunk("the same", "b")])
        assert sum(model.calls) == 1 and generator.duplicate_chunks == 1
    assert one.embedding is not None and other.embedding is not None
    one.embedding[:] = 0
    assert other.embedding.any()


def test_the_users_cache_is_shared_and_can_be_left_out() -> None:
    with EmbeddingGenerator(model=SMALL) as generator:
        first = generator.process_chunks(chunks(30))
        assert (generator.cache_misses, generator.cached_chunks) == (30, 0)
    with EmbeddingGenerator(model=SMALL) as generator:
        again = generator.process_chunks(chunks(30))
        assert (generator.cache_misses, generator.cached_chunks, generator.batches) == (0, 30, 0)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.embedding, other.embedding)  # type: ignore[arg-type]
    with EmbeddingGenerator(model=SMALL, cache=False) as generator:
        generator.process_chunks(chunks(30))
        assert (generator.cached_chunks, generator.embedded_chunks) == (0, 30)


CHUNKS = st.lists(st.sampled_from(["fine", "same", "", "RAISE", "NAN", "ALL", "kept"]), max_size=20)


@given(CHUNKS, st.integers(1, 4), st.integers(1, 2), st.booleans(), st.integers(0, 20))
def test_every_chunk_is_counted_once_whatever_ends_a_call(
    kinds: list[str], size: int, workers: int, retry: bool, stop_at: int
) -> None:
    """After each call, and while it is under way, seen from whatever thread."""
    seen: list[dict[str, Any]] = []

    class Looking(Odd):
        def infer(self, batch: Batch) -> Vectors:
            seen.append(generator.get_statistics())
            if "ALL" in "".join(batch.texts):
                raise ModelUnusable("no text is to blame")
            return super().infer(batch)

    def stop(done: int, total: int) -> None:
        seen.append(generator.get_statistics())
        if done > stop_at:
            raise KeyError("enough")

    with EmbeddingGenerator(size, workers, model=Looking(), cache=False) as generator:
        (kept,) = generator.process_chunks([Chunk("kept")])
        given = [
            kept if kind == "kept" else Chunk(kind if kind in ("same", "") else f"{row} {kind}")
            for row, kind in enumerate(kinds)
        ]
        try:
            found = generator.process_chunks(given, stop, retry_failed=retry)
        except EmbeddingGenerationError as error:
            found = list(error.chunks)
        told = generator.get_statistics()
        assert generator.get_progress_summary() == {
            name: told[f"{name}_chunks"] for name in ("processed", "failed", "total")
        }
    seen.append(told)
    for counts in seen:
        counted = counts["processed_chunks"] + counts["failed_chunks"] + counts["pending_chunks"]
        assert counts["total_chunks"] == counted <= 1 + len(given)
        of_processed = (f"{name}_chunks" for name in ("kept", "embedded", "cached", "duplicate"))
        assert counts["processed_chunks"] == sum(counts[name] for name in of_processed)
    assert told["pending_chunks"] == 0 and told["total_chunks"] + told["untried_chunks"] == 1 + len(given)
    assert told["processed_chunks"] == 1 + sum(chunk.embedding is not None for chunk in found)
    assert told["failed_chunks"] == sum(chunk.cause is not None for chunk in found)


def test_two_threads_may_call_one_generator() -> None:
    found: dict[int, Sequence[Chunk]] = {}
    with EmbeddingGenerator(model=Odd(), cache=False) as generator:

        def work(thread: int) -> None:
            found[thread] = generator.process_chunks([Chunk(f"text {thread} {row}") for row in range(300)])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert generator.get_progress_summary() == {"processed": 1200, "failed": 0, "total": 1200}
    reference = LightEmbedder()
    for thread, made in found.items():
        expected = reference.embed([f"text {thread} {row}" for row in range(300)])
        np.testing.assert_array_equal(np.stack([chunk.embedding for chunk in made]), expected)  # type: ignore[misc]


def test_batches_have_at_most_so_many_chunks_and_so_many_are_in_flight() -> None:
    class Watched(Odd):
        at_once = most = 0
        others = threading.Event()

        def infer(self, batch: Batch) -> Vectors:
            with self._lock:
                self.at_once += 1
                self.most = max(self.most, self.at_once)
            if self.most < 3:
                self.others.wait(0.2)  # for the others to come in, if there are others
            found = super().infer(batch)
            with self._lock:
                self.at_once -= 1
            return found

    texts = [Chunk(f"text number {row:03}") for row in range(60)]
    for workers in (1, 3):
        model = Watched()
        with EmbeddingGenerator(5, workers, model=model, cache=False) as generator:
            generator.process_chunks(texts)
            assert generator.batches == 12 and model.calls == [5] * 12 and model.most <= workers
            if workers == 1:
                assert model.most == 1


def test_what_is_counted_and_set_can_be_read() -> None:
    with EmbeddingGenerator(16, 2, model=SMALL, cache=False) as generator:
        generator.process_chunks(chunks(20))
        told = generator.get_statistics()
        wanted = (
            "total_chunks processed_chunks failed_chunks retried_chunks cached_chunks batches elapsed_seconds "
            "throughput_chunks_per_sec tokens_per_second batch_size num_workers device"
        )
        assert set(wanted.split()) <= set(told)
        assert (told["batch_size"], told["num_workers"], told["device"]) == (16, 2, "cpu")
        assert told["throughput_chunks_per_sec"] == pytest.approx(20 / told["elapsed_seconds"])
        for name in told:
            assert getattr(generator, name) == told[name], name
        assert (told["model"], told["restarts"]) == (SMALL, 0)
        assert sum(told[f"{name}_chunks"] for name in ("embedded", "cached", "duplicate", "kept", "failed")) == 20


def test_an_embedding_from_elsewhere_is_checked() -> None:
    with EmbeddingGenerator(model=SMALL, cache=False) as generator:
        sound = small_embedder().embed(["a text"])[0]
        chunk = Chunk("a text", metadata={"a": 1})
        made = generator.validate_and_enrich_chunk(chunk, sound.tolist())
        assert made == chunk and chunk.embedding is None
        np.testing.assert_array_equal(made.embedding, sound)  # type: ignore[arg-type]
        assert generator.process_batch([made])[0].provenance == made.provenance and generator.kept_chunks == 1
        for wrong in (sound[:-1], sound * 3, sound * np.nan, np.zeros_like(sound), "text", None):
            with pytest.raises(EmbeddingGenerationError, match="chunk 0"):
                generator.validate_and_enrich_chunk(chunk, wrong)
        for text, said in ((None, "the text is a NoneType"), ("", "empty or blank"), (" \n", "empty or blank")):
            with pytest.raises(EmbeddingGenerationError, match=f"chunk 0 of '': .*{said}"):
                generator.validate_and_enrich_chunk(Chunk(text), sound)  # type: ignore[arg-type]
        for nothing in (None, "text", [chunk]):
            with pytest.raises(TypeError, match="expected a chunk, got a"):
                generator.validate_and_enrich_chunk(nothing, sound)  # type: ignore[arg-type]


def _wrong() -> Iterator[dict[str, Any]]:
    yield from ({"batch_size": 0}, {"num_workers": 0}, {"num_workers": 2.5}, {"batch_size": "32"})
    yield from ({"use_threading": "yes"}, {"cache": 1}, {"device": "cuda"}, {"model": 7})
    from embedmill import Limits

    yield {"limits": Limits()}  # threads have none
    yield {"model": LightEmbedder(), "use_threading": False}
    yield {"model": LightEmbedder(), "device": "cpu"}
    yield {"model": None, "model_loader": "all-MiniLM-L6-v2"}


@pytest.mark.parametrize("options", list(_wrong()), ids=" ".join)
def test_options_that_could_do_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"give|leave|no embedder|cuda") as caught:
        EmbeddingGenerator(**{"model": SMALL} | options)
    assert isinstance(caught.value, UsageError | ModelValidationError)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("name", None, "its name is None"),
        ("dimension", 0, "its dimension is 0"),
        ("dimension", 9, "in its fingerprint"),
        ("max_tokens", None, "its max_tokens is None"),
        ("concurrency", 0, "its concurrency is 0"),
        ("fingerprint", None, "its fingerprint is a NoneType"),
    ],
)
def test_an_embedder_that_says_what_cannot_be_is_refused(name: str, value: object, said: str) -> None:
    embedder = type("Wrong", (LightEmbedder,), {name: value})()
    with pytest.raises(ModelValidationError, match=f"a Wrong is no embedder, .*{said}"):
        EmbeddingGenerator(model=embedder)


def test_anything_but_chunks_is_a_type_error() -> None:
    with EmbeddingGenerator(model=SMALL, cache=False) as generator:
        with pytest.raises(TypeError, match="number 1 is a str"):
            generator.process_chunks([Chunk("one"), "two"])  # type: ignore[list-item]
        for rubbish in (None, 3, "text", Chunk("one")):
            with pytest.raises(TypeError, match="expected a list of chunks"):
                generator.process_chunks(rubbish)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="expected a list of texts"):
                generator.generate_embeddings_for_texts(rubbish)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="progress_callback is 3: give a function"):
            generator.process_chunks([Chunk("one")], progress_callback=3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="number 1"):
            generator.generate_embeddings_for_texts(["one", None])  # type: ignore[list-item]
    with pytest.raises(RuntimeError, match="this EmbeddingGenerator is closed: make a new one"):
        generator.process_chunks(chunks(2))
    with pytest.raises(RuntimeError, match="this EmbeddingGenerator is closed: make a new one"):
        generator.validate_and_enrich_chunk(Chunk("one"), np.ones(32, np.float32))


@pytest.mark.parametrize("use_threading", [True, False])
def test_a_generator_that_is_closed_in_the_midst_gives_the_work_so_far(use_threading: bool) -> None:
    with EmbeddingGenerator(10, 2, model=SMALL, use_threading=use_threading, cache=False) as generator:
        with pytest.raises(EmbeddingGenerationError, match="was closed meanwhile") as caught:
            generator.process_chunks(chunks(2000), lambda done, total: generator.close())
        made = [chunk for chunk in caught.value.chunks if chunk.embedding is not None]
        assert len(caught.value.chunks) == 2000 and 0 < len(made) == generator.processed_chunks < 2000
    ended = EmbeddingGenerator(model=SMALL, use_threading=use_threading, cache=False)
    found = ended.process_chunks(chunks(2), lambda done, total: ended.close())
    assert all(chunk.embedding is not None for chunk in found)


def test_a_worker_that_is_killed_costs_nothing() -> None:
    """findings 16: a process pool breaks whole when one child dies."""
    killed: list[int] = []
    others = set(psutil.Process().children())  # of tests before

    def kill(done: int, total: int) -> None:
        if not killed:
            (child, *_) = [each for each in psutil.Process().children() if each not in others]
            killed.append(child.pid)
            child.kill()

    with EmbeddingGenerator(4, 1, model=SMALL, use_threading=False, cache=False) as generator:
        found = generator.process_chunks(chunks(100), kill)
        assert all(chunk.embedding is not None for chunk in found)
        assert killed and generator.get_statistics()["restarts"] == 1
