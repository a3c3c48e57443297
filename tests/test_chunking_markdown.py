"""Markdown: a chunk belongs to a section, knows its headings, and leaves fenced code whole."""

import pytest

from embedmill.core.documents import Kind
from test_chunking import by_word, cut

BODY = "Some words that make up a sentence of the body. " * 4


def sections(text: str, limit: int = 64) -> list[tuple[str, str]]:
    """Each chunk's context and first line."""
    return [(each.context, each.text.splitlines()[0]) for each in cut(text, Kind.MARKDOWN, limit)]


def test_the_context_is_the_path_of_headings_above_the_chunk() -> None:
    text = f"# Guide\n\n{BODY}\n## Install\n\n{BODY}\n### Linux\n\n{BODY}\n## Use\n\n{BODY}"
    assert sections(text) == [
        ("", "# Guide"),
        ("Guide", "## Install"),
        ("Guide > Install", "### Linux"),
        ("Guide", "## Use"),
    ]


def test_chunks_further_on_in_a_section_have_its_heading_too() -> None:
    text = f"# Guide\n\n## Install\n\n{(BODY.strip() + chr(10) * 2) * 6}"
    chunks = cut(text, Kind.MARKDOWN, 64)
    assert len(chunks) > 4
    assert chunks[0].context == ""
    assert chunks[0].text.startswith("# Guide\n\n## Install\n\nSome words")
    assert {each.context for each in chunks[1:]} == {"Guide > Install"}
    assert all(each.token_count == by_word([f"Guide > Install\n\n{each.text}"])[0] for each in chunks[1:])


def test_headings_underlined_count_and_rules_do_not() -> None:
    text = f"Guide\n=====\n\n{BODY}\n\n---\n\n{BODY}\n\nInstall\n-------\n\n{BODY}\n\n- item\n---\n"
    assert [section for section in sections(text) if section[1] in ("Guide", "Install")] == [
        ("", "Guide"),
        ("Guide", "Install"),
    ]
    assert {context for context, _ in sections(text)} == {"", "Guide", "Guide > Install"}


def test_tiny_sections_go_together_under_one_heading_and_not_beyond_it() -> None:
    text = f"# A\n\n{BODY}\n## B\n\nTiny.\n\n## C\n\nTiny too.\n\n# D\n\n{BODY}"
    assert sections(text) == [("", "# A"), ("A", "## B"), ("", "# D")]


def test_a_heading_alone_goes_with_what_follows_even_where_that_is_long() -> None:
    text = f"# A\n\n{BODY}\n\n## B\n\n### C\n\n{BODY * 8}"
    chunks = cut(text, Kind.MARKDOWN, 64)
    assert chunks[1].text.startswith("## B\n\n### C\n\nSome words")
    assert {each.context for each in chunks[2:]} == {"A > B > C"}


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
def test_a_hash_within_a_fence_is_no_heading(fence: str) -> None:
    inner = "```" if fence == "````" else "# also none"
    text = f"# A\n\n{BODY}\n\n{fence}sh\n# no heading\n{inner}\n# nor this\n{fence}\n\n## B\n\n{BODY}"
    assert {context for context, _ in sections(text)} == {"", "A"}
    assert ("A", "## B") in sections(text)


def test_a_fence_that_nothing_closes_goes_on_to_the_end() -> None:
    assert {context for context, _ in sections(f"# A\n\n{BODY}\n\n```\n# B\n\n{BODY * 3}")} == {"", "A"}


def test_code_between_backticks_on_one_line_opens_no_fence() -> None:
    assert ("A", "## B") in sections(f"# A\n\n```code``` in a line\n\n{BODY}\n## B\n\n{BODY}")


def test_a_fence_that_fits_is_not_cut() -> None:
    code = "".join(f"call({n})\n\n" for n in range(7))
    part = f"{BODY.strip()}\n\n```python\n{code}```\n\n"
    chunks = cut(f"# A\n\n{part * 12}", Kind.MARKDOWN, 128)
    assert len(chunks) > 6
    assert all(each.text.count("```") % 2 == 0 for each in chunks)


def test_a_fence_longer_than_a_chunk_is_cut_between_its_lines() -> None:
    lines = [f"call_number_{n}(argument)" for n in range(80)]
    chunks = cut("# A\n\n```\n" + "\n".join(lines) + "\n```\n", Kind.MARKDOWN, 64)
    assert len(chunks) > 5
    assert {line for each in chunks for line in each.text.splitlines()} >= set(lines)


def test_front_matter_is_no_heading() -> None:
    text = f"---\ntitle: A page\n\ntags: x\n---\n\n# A\n\n{BODY}\n\n## B\n\n{BODY}"
    assert sections(text) == [("", "---"), ("", "# A"), ("A", "## B")] or sections(text) == [
        ("", "---"),
        ("A", "## B"),
    ]


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("# Plain", "Plain"),
        ("# Closed ##", "Closed"),
        ("#   Wide   apart  ", "Wide apart"),
        ("# C#", "C#"),
        ("# CRLF\r", "CRLF"),
        ("   # Indented", "Indented"),
    ],
)
def test_titles(heading: str, title: str) -> None:
    assert (title, "## B") in sections(f"{heading}\n\n{BODY}\n\n## B\n\n{BODY}")


@pytest.mark.parametrize("line", ["#No space", "####### Seven", "    # Code", "\\# Escaped"])
def test_what_is_no_heading(line: str) -> None:
    assert {context for context, _ in sections(f"{line}\n\n{BODY}\n\n## B\n\n{BODY}")} == {""}


def test_the_context_takes_at_most_a_quarter_and_drops_the_outermost_headings_first() -> None:
    outer, inner = "Outer words " * 6, "Inner words"
    chunks = cut(f"# {outer}\n\n## {inner}\n\n{BODY * 8}", Kind.MARKDOWN, 64)
    assert {each.context for each in chunks[2:]} == {inner}
    chunks = cut(f"# {outer * 5}\n\n{BODY * 8}", Kind.MARKDOWN, 64)
    for each in chunks[1:]:
        assert each.context
        assert outer.startswith(each.context[:10])
        assert by_word([each.context])[0] < 64 / 2  # a quarter by an estimate, which takes these words for shorter


def test_a_section_keeps_its_chunks_when_another_one_changes() -> None:
    parts = [f"## Section {n}\n\n{BODY}\n\nNumber {n} is {n * 7919 % 997}.\n\n" for n in range(50)]
    before = {each.hash for each in cut("# A\n\n" + "".join(parts), Kind.MARKDOWN, 64)}
    parts[20] = parts[20].replace("Some", "Other", 1)
    after = [each.hash for each in cut("# A\n\n" + "".join(parts), Kind.MARKDOWN, 64)]
    assert len(after) > 50
    assert sum(each not in before for each in after) == 1


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("<!--", "-->"),
        ("   <!-- of the authors", "for nobody else -->"),
        ("<pre>", "</pre>"),
        ("<SCRIPT type='module'>", "</script >"),
        ("<style>", "</style>"),
        ("<textarea rows=3>", "</textarea>"),
        ("<?php", "?>"),
        ("<![CDATA[", "]]>"),
    ],
)
def test_what_looks_like_a_heading_or_a_fence_in_raw_html_is_neither(opened: str, closed: str) -> None:
    text = f"# A\n\n{BODY}\n\n{opened}\n# no heading\n\nNor this\n===\n```\n{closed}\n---\n\n{BODY}\n\n## B\n\n{BODY}"
    assert {context for context, _ in sections(text)} == {"", "A"}
    assert ("A", "## B") in sections(text)


def test_a_comment_on_one_line_ends_there() -> None:
    assert ("A", "## B") in sections(f"# A\n\n<!-- # none -->\n\n{BODY}\n\n## B\n\n{BODY}")


@pytest.mark.parametrize("opened", ["<!--", "<pre>", "<premium>", "`<!--`"])
def test_raw_html_that_nothing_closes_hides_no_heading(opened: str) -> None:
    assert ("A", "## B") in sections(f"# A\n\n{BODY}\n\n{opened}\n\n## B\n\n{BODY}")
