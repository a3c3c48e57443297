"""Properties that are computed once."""

from __future__ import annotations

from embedmill.runtime.computed import computed_once


class Counted:
    def __init__(self) -> None:
        self.times = 0

    @computed_once
    def answer(self) -> int:
        """What is computed."""
        self.times += 1
        return 42


def test_it_is_computed_once_for_each_object() -> None:
    first, second = Counted(), Counted()
    assert (first.answer, first.answer, second.answer) == (42, 42, 42)
    assert (first.times, second.times) == (1, 1)
    assert Counted.answer.__doc__ == "What is computed."
