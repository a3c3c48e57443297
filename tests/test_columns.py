"""Names of tables: read as people write them, shown as people may give them back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedmill.storage import columns as naming

_NAMES = st.one_of(
    st.text(alphabet='ab. "\n%Ä', min_size=1),
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
)


@given(st.lists(_NAMES, min_size=1, max_size=2))
@example(["app", "My Table"])
@example(['"', '""'])
@example([" a", "b "])
@example(["a.b"])
def test_a_name_that_is_shown_is_read_as_it_was(names: list[str]) -> None:
    assert [name for name, _ in naming.parts(naming.shown(names))] == names


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["public", "sentences"], "public.sentences"),
        (["App", "Straße_2"], "App.Straße_2"),
        (["app", "My Table"], 'app."My Table"'),
        (["a.b", 'say "hi"'], '"a.b"."say ""hi"""'),
        (["my-table"], '"my-table"'),
    ],
)
def test_only_odd_names_are_shown_in_quotes(names: list[str], shown: str) -> None:
    assert naming.shown(names) == shown
