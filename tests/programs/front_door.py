"""A user's program: it runs as it stands, and passes `mypy --strict`. Public names alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import assert_type

import embedmill
from embedmill import (
    Chunk,
    EmbeddingGenerationError,
    EmbeddingGenerator,
    EmbeddingMatrix,
    EmbeddingValidator,
    EmbeddingVector,
    EmbedmillError,
    ModelLoader,
    ModelLoadError,
    ParallelEmbeddingGenerator,
    ProgressCallback,
)

MODEL = "test:384"


def similarity(one: EmbeddingVector, other: EmbeddingVector) -> float:
    return float(one @ other)


def progress(done: int, total: int) -> None:
    print(f"{done} of {total}")


def main(folder: Path) -> None:
    callback: ProgressCallback = progress
    callback(0, 2)

    loader = ModelLoader.get_instance(MODEL, device="auto")
    assert_type(loader, ModelLoader)
    assert_type(loader.encode("Knead the dough."), EmbeddingVector)
    assert_type(loader.encode(["Knead the dough.", "Let it rise."]), EmbeddingMatrix)
    name, device, dimension = loader.get_model_name(), loader.get_device(), loader.get_model_dimension()
    assert (name, device, dimension) == (MODEL, "cpu", embedmill.DEFAULT_DIMENSION)
    assert loader.get_cache_dir().is_absolute()

    dough = embedmill.embed("Knead the dough.", model=MODEL, cache=False)
    assert_type(dough, EmbeddingVector)
    both = embedmill.embed(["Knead the dough.", "The dough rises."], model=MODEL, cache=False)
    assert_type(both, EmbeddingMatrix)
    print(f"{similarity(dough, both[1]):.1f}")

    validator = EmbeddingValidator(loader.get_model_dimension(), tolerance=embedmill.NORM_TOLERANCE)
    valid, invalid = validator.validate_batch([both[0], both[1], [0.0] * dimension, None])
    assert_type(valid, list[int])
    for row, cause in invalid.items():
        print(row, cause.message)
    assert validator.validate_embedding(dough) and valid == [0, 1] and list(invalid) == [2, 3]

    chunk = Chunk(text="Knead the dough.", source_file="bread.md", metadata={"author": "Ada"})
    with EmbeddingGenerator(32, 2, model_loader=loader, cache=False) as generator:
        chunks = generator.process_chunks([chunk, Chunk("")], progress_callback=progress, retry_failed=True)
        assert_type(chunks, list[Chunk])
        stats = generator.get_statistics()
        print(stats["processed_chunks"], stats["failed_chunks"], f"{stats['throughput_chunks_per_sec']:.2f}")
        assert_type(generator.failed_chunks, int)
        assert_type(generator.generate_embeddings_for_texts(["a", "b"]), EmbeddingMatrix)
        try:
            generator.validate_and_enrich_chunk(chunk, [0.0] * dimension)
        except EmbeddingGenerationError as refused:
            print(refused)
    if (why := chunks[1].cause) is not None:
        print(why.type, chunks[1].embedding is None)

    with ParallelEmbeddingGenerator(1, model=MODEL, cache=False) as parallel:
        assert_type(parallel.generate("a"), EmbeddingVector)
        assert_type(parallel.generate(["a", "b"]), EmbeddingMatrix)

    with embedmill.load_embedder(MODEL) as embedder:
        vectors = embedder.embed([chunk.input], on_progress=lambda done: print(done))
        for vector in embedder.embed_iter(text for text in ("a", "b")):
            assert vector.shape == (dimension,)
    assert vectors.shape == (1, dimension)

    (folder / "bread.txt").write_text(chunk.text)
    store = f"sqlite:{folder / 'index.db'}"
    report = embedmill.index(folder / "bread.txt", store=store, model=MODEL, allow_test_model=True, cache=False)
    assert report.embedded == 1
    print([hit.text for hit in embedmill.search("the dough", store=store)])

    try:
        ModelLoader(str(folder)).get_model()
    except ModelLoadError as error:
        print(error.kind)
    except EmbedmillError as error:
        print(f"something else: {error}")
    ModelLoader.reset_cache()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
