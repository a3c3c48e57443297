"""How wide a run over a table becomes, by what it measures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedmill.pipelines.ingest.width import NARROWEST, WIDEST, Waits, Width, next_width

shares = st.floats(0, 1)
widths = st.builds(Width, st.integers(NARROWEST.ahead, WIDEST.ahead), st.integers(NARROWEST.writers, WIDEST.writers))


@given(widths, st.builds(Waits, shares, shares, shares, st.floats(0, 8)))
def test_the_width_stays_within_its_bounds_and_moves_in_small_steps(width: Width, waits: Waits) -> None:
    new = next_width(width, waits)
    assert NARROWEST.ahead <= new.ahead <= WIDEST.ahead
    assert NARROWEST.writers <= new.writers <= WIDEST.writers
    assert new.ahead <= 2 * width.ahead
    assert abs(new.writers - width.writers) <= 1


def after(rounds: int, writing: float, reading: float) -> Width:
    """Where a run ends up whose writers need `writing` seconds for what the model makes in one, and whose reader needs
    `reading` seconds for as much, half of that overlapping with more pages ahead."""
    width = NARROWEST
    for _ in range(rounds):
        late = max(writing / width.writers - 1, 0)
        starving = max(reading / width.ahead - 0.5, 0)
        busy = min(writing, width.writers)
        width = next_width(width, Waits(min(starving, 1), 0 if starving else 0.95, min(late, 1), busy))
    return width


def test_writers_come_until_the_model_does_not_wait_and_go_when_they_are_idle() -> None:
    assert after(20, writing=0.3, reading=0.1) == NARROWEST
    assert 4 <= after(20, writing=3.5, reading=0.1).writers <= 5
    assert after(20, writing=100, reading=0.1).writers == WIDEST.writers
    assert next_width(Width(2, 6), Waits(0, 0, 0, 0.5)).writers == 5


def test_pages_double_while_the_model_starves() -> None:
    assert next_width(Width(2, 1), Waits(0.5, 0, 0, 0.1)).ahead == 4
    assert next_width(Width(16, 1), Waits(0.5, 0, 0, 0.1)).ahead == 16
    assert next_width(Width(4, 1), Waits(0, 0.95, 0, 0.1)).ahead == 3
    assert next_width(Width(4, 1), Waits(0, 0.5, 0, 0.1)).ahead == 4
