"""An edit embeds only the chunks around it anew."""

from collections.abc import Iterator

import pytest

from embedmill.core.documents import Kind
from test_chunking import cut, python_sources


def edits(text: str, count: int) -> Iterator[str]:
    """The text with a line inserted, or some lines taken away, at places spread over it."""
    for n in range(count):
        place = text.rfind("\n", 0, len(text) * (2 * n + 1) // (2 * count)) + 1
        if n % 3:
            yield text[:place] + "    inserted = compute(other, 17)\n" + text[place:]
        else:
            yield text[:place] + text[text.find("\n", place + 90) + 1 :]


@pytest.mark.parametrize("kind", [Kind.CODE, Kind.TEXT])
def test_an_edit_changes_few_chunks_however_large_the_document(kind: Kind) -> None:
    sources = sorted(python_sources(60_000), key=len)[-6:]
    changed: list[int] = []
    for text in sources:
        before = {each.hash for each in cut(text, kind, 256)}
        assert len(before) > 60
        changed += [sum(each.hash not in before for each in cut(edited, kind, 256)) for edited in edits(text, 8)]
    assert sum(changed) / len(changed) < 4
    assert sorted(changed)[len(changed) // 2] <= 3


def test_an_edit_of_lines_that_are_all_alike_in_structure_changes_few_chunks() -> None:
    text = "".join(
        f"2024-05-{n % 28 + 1:02} worker {n * 7919 % 997} took {n * 104729 % 9973} ms\n" for n in range(6_000)
    )
    before = {each.hash for each in cut(text, limit=256)}
    changed = [sum(each.hash not in before for each in cut(edited, limit=256)) for edited in edits(text, 12)]
    assert len(before) > 200
    assert sum(changed) / len(changed) < 8
