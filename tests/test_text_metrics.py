"""What is counted of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmill.core.rows import DIGEST_SIZE
from embedmill.pipelines.ingest.metrics import measure, normalised


@pytest.mark.parametrize(
    ("text", "characters", "words"),
    [("", 0, 0), ("  \n", 3, 0), ("one", 3, 1), ("one  two\tthree\n", 15, 3), ("ﬁne 😀", 5, 2), ("a\u3000b", 3, 2)],
)
def test_characters_are_code_points_and_words_lie_between_white_space(text: str, characters: int, words: int) -> None:
    found = measure(text, 7)
    assert (found.characters, found.words, found.tokens) == (characters, words, 7)


@pytest.mark.parametrize(
    ("left", "right"),
    [("A  cat.\n", "a cat."), ("ＡＢＣ", "abc"), ("straße", "STRASSE"), ("e\u0301t\u00e9", "\u00c9TE\u0301")],
)
def test_texts_that_read_alike_are_the_same(left: str, right: str) -> None:
    assert normalised(left) == normalised(right)
    assert measure(left, None).digest == measure(right, None).digest


@pytest.mark.parametrize(("left", "right"), [("a cat", "a cat."), ("ab", "a b"), ("e", "é"), ("", "a")])
def test_other_texts_are_not(left: str, right: str) -> None:
    assert measure(left, None).digest != measure(right, None).digest


@given(st.text())
def test_every_text_can_be_measured(text: str) -> None:
    found = measure(text, 1)
    assert len(found.digest) == DIGEST_SIZE
    assert found.words <= found.characters == len(text)
    assert normalised(normalised(text)) == normalised(text) or any(ord(each) > 0x7F for each in text)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(" \t\n", max_size=3), st.text(" \t\n", max_size=3))
def test_white_space_around_a_text_does_not_count(text: str, before: str, after: str) -> None:
    assert measure(before + text + after, None).digest == measure(text, None).digest
