"""Trees as YAML, whatever is in them: no term is lost, and a second pass changes no byte."""

from __future__ import annotations

from collections import Counter
from re import escape
from warnings import catch_warnings

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytest import raises
from ruamel.yaml import YAML
from ruamel.yaml.error import ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from embedmill.core.errors import SourceError
from embedmill.taxonomy.formats.text import decode
from embedmill.taxonomy.formats.yaml.reader import read, read_whole
from embedmill.taxonomy.formats.yaml.scalars import scalar
from embedmill.taxonomy.formats.yaml.writer import write
from embedmill.taxonomy.tree import Branch
from taxonomy_trees import comment_lines, outline, trees

NULLS = ("", "~", "null", "Null", "NULL")
PIECES = st.sampled_from(
    ["a", "b", "no", "1", ": ", ":", "- ", "-", "\n", "\n", "\n  ", "\n    ", "\n- ", "\n  - ", " # c", "# d", "#", " ",
     "'", '"', "''", "- &x\n  k: a\n", "- *x\n",
     "&x ", "*x", "&y ", "*y", "[", "]", "{", "}", ", ", "|", ">", "|+", "!t ", "? ", "~", "k: ", "l: ",
     "---", "...", "\\", "é", "\t", "%"]
)  # fmt: skip


def tree_of(text: str) -> Branch:
    return read(decode("file.yaml", text.encode()))


@given(trees(texts=st.text(min_size=1)))
def test_any_tree_is_read_back_as_it_was_written(tree: Branch) -> None:
    written = write(tree)
    again = tree_of(written)
    assert outline(again) == outline(tree)
    assert again.term_counts() == tree.term_counts()
    assert comment_lines(again) == comment_lines(tree)
    assert write(again) == written


@given(st.text(min_size=1), st.booleans(), st.sampled_from(["", "'", '"']))
def test_other_readers_take_a_scalar_for_the_same_text(text: str, brackets: bool, like: str) -> None:
    line = scalar(text, like=like, brackets=brackets)
    document = f"- [{line}, {line}]" if brackets else f"- {line}"
    for version in ("1.1", "1.2"):
        yaml = YAML(typ="safe", pure=True)
        yaml.version = version
        loaded = yaml.load(document)
        assert loaded == ([[text, text]] if brackets else [text])


@settings(max_examples=400)
@given(st.lists(PIECES, min_size=2, max_size=30).map("".join))
@example("a:\n  &x b: c\n*x : d")
@example("- &x a\n- |+\n  b\n\n- *x\n")
@example("k: 'a\n\n  b'\nl: a\n  b # c")
def test_what_another_reader_finds_in_a_file_is_what_is_read(source: str) -> None:
    try:
        tree = tree_of(source)
    except SourceError as error:
        assert "\n" not in str(error)
        return
    with catch_warnings(action="ignore", category=ReusedAnchorWarning):
        assert tree.term_counts() == values(YAML(typ="safe", pure=True).compose(source))
    written = write(tree)
    again = tree_of(written)
    assert outline(again) == outline(tree)
    assert comment_lines(again) == comment_lines(tree)
    assert write(again) == written
    rearrange(again)
    moved = tree_of(write(again))
    assert outline(moved) == outline(again)
    assert comment_lines(moved) == comment_lines(again)


def rearrange(tree: Branch) -> None:
    """Turn each list of children round, and put the first branch of each below the second.

    So aliases stand before what they refer to, keys in lists, and texts of several lines at other columns.
    """
    lists = {id(branch.children): branch.children for _, branch in tree.walk()}
    for children in lists.values():
        children.reverse()
        inner = [child for child in children if isinstance(child, Branch)]
        if len(inner) > 1 and all(branch is not inner[0] for _, branch in inner[1].walk()):
            children.remove(inner[0])
            inner[1].children.append(inner[0])


def values(node: Node) -> Counter[str]:
    """The scalars of a document, without its keys and without nothing as a value."""
    found: Counter[str] = Counter()
    waiting: list[Node] = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, ScalarNode):
            found[each.value] += 1
        elif isinstance(each, SequenceNode):
            waiting += each.value
        elif isinstance(each, MappingNode):
            for _, value in each.value:
                nothing = isinstance(value, ScalarNode) and not value.style and value.value in NULLS
                waiting += [] if nothing else [value]
    return found


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A file that is laid out regularly, with comments wherever there may be some."""
    step = draw(st.sampled_from([2, 4]))
    offset = draw(st.sampled_from([0, step]))
    words = st.sampled_from(["red", "'no'", "no", "2020-01-01", "1.0", '"q \\u0041"', "a, b", "it's", "~x", "héé"])
    notes = st.sampled_from([" # n", "  # note", "   #tight", ""])
    above = st.lists(st.sampled_from(["# c", "# instruction: d", ""]), max_size=2)
    lines: list[str] = []
    number = 0

    def comments(column: int) -> None:
        lines.extend(" " * column + line if line else "" for line in draw(above))

    def items(column: int, depth: int) -> None:
        nonlocal number
        for _ in range(draw(st.integers(1, 4))):
            comments(column)
            if depth and draw(st.integers(0, 3)) == 0:
                number += 1
                lines.append(f"{' ' * column}- key {number}:{draw(notes)}")
                body(column + 2, depth - 1)
            else:
                lines.append(f"{' ' * column}- {draw(words)}{draw(notes)}")

    def keys(column: int, depth: int) -> None:
        nonlocal number
        for _ in range(draw(st.integers(1, 3))):
            comments(column)
            number += 1
            head = f"{' ' * column}{draw(st.sampled_from(['', chr(39)]))}"
            quote = "'" if head.endswith("'") else ""
            value = draw(
                st.sampled_from(["", " ~", " []", " {}", " [a, 'b', {c: d}]", " {a: [b], c: d}", " one", None])
            )
            lines.append(f"{head}key {number}{quote}:{value or ''}{draw(notes)}")
            if value is None:
                body(column, depth - 1)

    def body(column: int, depth: int) -> None:
        if depth > 0 and draw(st.booleans()):
            keys(column + step, depth)
        else:
            items(column + offset, depth)

    if draw(st.booleans()):
        keys(0, 3)
    else:
        items(0, 3)
    comments(0)
    return "".join(f"{line}\n" for line in lines)


@settings(max_examples=200)
@given(documents())
def test_a_regular_file_is_written_as_it_was(source: str) -> None:
    assert write(tree_of(source)) == source


@given(st.integers(30, 80), st.integers(0, 90), st.sampled_from(["red # c", "k: v", "- x", "'a''b'", "# c", "", "x:"]))
def test_a_long_list_with_something_else_in_it(length: int, place: int, odd: str) -> None:
    lines = [f"  - term {number}" + ("  # beside" if number % 7 == 0 else "") for number in range(length)]
    lines[min(place, length) : min(place, length)] = [
        f"  - {odd}" if odd and odd[0] not in "-#" else f"  {odd}".rstrip()
    ]
    source = "".join(f"{line}\n" for line in ["list:", *lines, "end: [z]"])
    try:
        tree = tree_of(source)
    except SourceError as error:
        assert "column" in str(error)
        return
    assert tree.term_counts() == values(YAML(typ="safe", pure=True).compose(source))
    assert write(tree_of(write(tree))) == write(tree)


LONG_COMMENT = f"# {'long ' * 30}"
RUN_LINES = ["- t {}", "- 't {}'", "- k {}: v", "- k {}: v  # c {}", '- "k {}": \'v\'', "k {}: v {}", "k {}: null",
             "'k {}': v #"]  # fmt: skip
ODD_LINES = ["- x", "x: y", "x:", "  - x", "  x: y", "- x:", "a: |", "  a: '", "'", "[", "]", "# c", "", LONG_COMMENT,
             f"  {LONG_COMMENT}", "k 1: v", "- &a b", "c: *a", "- *a", "---", "...", "  more", "- - x", "? x", "- {",
             "}", "- ~", "x: |-"]  # fmt: skip


@st.composite
def documents_of_long_lists(draw: st.DrawFn) -> str:
    """Runs of lines of one kind, with something else before and behind them."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        lines += draw(st.lists(st.sampled_from(ODD_LINES), max_size=2))
        line, column = draw(st.sampled_from(RUN_LINES)), draw(st.sampled_from([0, 0, 2]))
        start = draw(st.sampled_from([0, 100]))
        numbers = range(start, start + draw(st.integers(30, 40)))
        lines += [" " * column + line.format(number, number) for number in numbers]
    lines += draw(st.lists(st.sampled_from(ODD_LINES), max_size=2))
    return "".join(f"{line}\n" for line in lines)


@settings(max_examples=300)
@given(documents_of_long_lists())
@example("".join(f"k {number}: v\n" for number in [*range(40), 7]))
@example("a: |\n" + "".join(f"  k {number}: v\n" for number in range(40)))
@example(f"a: |\n  {LONG_COMMENT}\nb: c\n{LONG_COMMENT}\n")
@example(f"{LONG_COMMENT}\n---\nb: c\n")
def test_long_lists_are_read_as_the_parser_reads_them(source: str) -> None:
    file = decode("file.yaml", source.encode())
    try:
        whole = read_whole(file)
    except SourceError as error:
        with raises(SourceError, match=escape(str(error))):
            read(file)
        return
    assert repr(read(file)) == repr(whole)


@given(documents() | trees(texts=st.text("ab: #'", min_size=1)).map(write), st.data())
def test_terms_survive_moves_and_renames(text: str, data: st.DataObject) -> None:
    tree = tree_of(text)
    branches = [branch for _, branch in tree.walk()]
    source, target = data.draw(st.sampled_from(branches)), data.draw(st.sampled_from(branches))
    moved = source.terms
    source.children = [child for child in source.children if isinstance(child, Branch)]
    target.children += moved
    target.name = "renamed" if target is not tree else ""
    for term in moved[:1]:
        term.text += " anew"
    expected, comments = tree.term_counts(), comment_lines(tree)
    again = tree_of(write(tree)) if tree.children else tree
    assert again.term_counts() == expected
    assert comment_lines(again) == comments


def test_the_parser_refuses_what_another_refuses() -> None:
    for source in ("a: [b", "a: b: c", "- a\n b: c", "'a"):
        try:
            YAML(typ="safe", pure=True).compose(source)
        except YAMLError:
            try:
                tree_of(source)
            except SourceError:
                continue
        raise AssertionError(source)
