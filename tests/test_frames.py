"""Frames come out as they went in, however the socket cuts them; garbage is told from frames."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmill.core.vectors import Batch, Cause, Embedded
from embedmill.executors.processes.frames import (
    Frame,
    FrameKind,
    Incoming,
    ProtocolError,
    pack,
    pack_batch,
    pack_result,
    read_batch,
    read_result,
)

texts = st.lists(st.text(st.characters(codec=None), max_size=30), min_size=1, max_size=6)  # lone surrogates, too


def batch_of(parts: list[str]) -> Batch:
    return Batch(tuple(parts), tuple(np.arange(len(part) + 1, dtype=np.int32) for part in parts))


def received(data: bytes, cuts: list[int]) -> list[Frame]:
    incoming = Incoming()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [frame for a, b in itertools.pairwise(places) for frame in incoming.feed(data[a:b])]


@given(st.lists(texts, min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=8))
def test_batches_survive_the_socket(groups: list[list[str]], cuts: list[int]) -> None:
    sent = [batch_of(group) for group in groups]
    data = b"".join(pack_batch(number, batch) for number, batch in enumerate(sent))
    frames = received(data, cuts)
    assert [frame.number for frame in frames] == list(range(len(sent)))
    for frame, batch in zip(frames, sent, strict=True):
        found = read_batch(frame)
        assert found.texts == batch.texts
        assert [ids.tolist() for ids in found.ids] == [ids.tolist() for ids in batch.ids]
        assert all(ids.dtype == np.int32 for ids in found.ids)


@given(texts, st.data())
def test_results_survive_the_socket(parts: list[str], data: st.DataObject) -> None:
    batch = batch_of(parts)
    vectors = np.random.default_rng(1).standard_normal((len(parts), 5)).astype(np.float32)
    vectors[0] = np.nan
    causes = {0: Cause("ValueError", "as\u0142 told", "trace")} if data.draw(st.booleans()) else {}
    (frame,) = received(pack_result(7, Embedded(batch, vectors, causes), 3), [11, 50])
    embedded, retries = read_result(frame, batch)
    assert retries == 3
    np.testing.assert_array_equal(embedded.vectors, vectors)
    assert embedded.causes == causes


@given(st.binary(min_size=24, max_size=200))
def test_garbage_is_no_frame(data: bytes) -> None:
    if not data.startswith(b"emf1"):
        with pytest.raises(ProtocolError):
            list(Incoming().feed(data))


@pytest.mark.parametrize(
    "data",
    [
        pack(FrameKind.READY).replace(b"{}", b"[]"),
        pack(FrameKind.READY).replace(b"{}", b"{x"),
        pack(FrameKind.READY).replace(b"\x02\x00\x00\x00", b"\x63\x00\x00\x00", 1),
        b"emf1" + b"\xff" * 20,
    ],
)
def test_damaged_frames(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Incoming().feed(data))


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"shape": [1, 4], "causes": [], "retries": 0},
        {"shape": [2, 3], "causes": [], "retries": 0},
        {"shape": [2, 4], "causes": [[2, "a", "b", "c"]], "retries": 0},
        {"shape": [2, 4], "causes": [["x"]], "retries": 0},
        {"shape": "none", "causes": [], "retries": 0},
    ],
)
def test_a_result_that_does_not_fit_its_batch(facts: dict[str, object]) -> None:
    (frame,) = Incoming().feed(pack(FrameKind.RESULT, 1, facts, bytes(32)))
    with pytest.raises(ProtocolError):
        read_result(frame, batch_of(["a", "b"]))


def test_a_batch_that_is_none() -> None:
    for facts in ({}, {"tokens": [9], "bytes": [1]}, {"tokens": "x", "bytes": []}):
        (frame,) = Incoming().feed(pack(FrameKind.BATCH, 1, facts, bytes(8)))
        with pytest.raises(ProtocolError):
            read_batch(frame)
