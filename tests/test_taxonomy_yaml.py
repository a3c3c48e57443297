"""YAML to trees and back: comments, order, anchors, quotes and layout."""

from __future__ import annotations

import pytest

from embedmill.core.errors import SourceError
from embedmill.taxonomy.formats.text import decode
from embedmill.taxonomy.formats.yaml.reader import read
from embedmill.taxonomy.formats.yaml.writer import write
from embedmill.taxonomy.tree import Branch, Term
from taxonomy_trees import outline

FILE = """\
# Colours for prompts
# second line

# instruction: only colours
warm: # instruction: no pastels
  - red
  - orange # not the fruit
  # between
  - 'no'

  - 2020-01-01
  - "a \\u0041 \\t"
  # end of warm
# above cold
cold:
  blue: &blues
    - navy
    - teal   # three spaces
  sky: *blues
  single: azure # beside a value
  empty:
  brackets: [a, 'b', {c: d}]
  nothing: ~
  none: []
  # end of cold

# end of the file
"""


def tree_of(text: str) -> Branch:
    return read(decode("file.yaml", text.encode()))


def branch_of(tree: Branch, name: str) -> Branch:
    return next(branch for _, branch in tree.walk() if branch.name == name)


def test_a_file_is_written_as_it_was() -> None:
    assert write(tree_of(FILE)) == FILE


@pytest.mark.parametrize(
    "source",
    [
        "a:\n- x\n- b:\n  - y\n  c:\n    - w\n- d: e\n# foo\nb:\n- z\n",
        "a:\n    b:\n        -   c\n        # deep\n        -   d\n    e: # nothing\n        # nothing yet\n    f: x\n",
        "- a\n- b: |\n    lit\n    eral\n\n- c: >+\n    k\n\n\n- &q \"x y\"\n- *q\n- {a: b, c: d} # hm\n",
        "# x\n%YAML 1.2\n---\na: b\n...\n# end\n",
        "---\n- a\n",
        "{a: [b], c: {d: e}} # all\n",
        "[a, b]\n",
        "a: 'x\n  y'\nb: x\n  y # c\n",
        "- &k a: !!str 1\n- *k : !mine [b]\n",
        "a: !tag\n  - b\n",
        "# c\n- &x\n  a: 1 # d\n  b:\n    - 2\n- *x\n- c\n",
        "- &x {a: [1, 2], b: [3]}\n- *x\n",
        "base: &x\n  a: [1]\nc:\n  <<: *x\n  d: e\n",
        "Ünïcode: [é, e\u0301]\n",
        "a:\r\n  - b\r\n",
    ],
)  # fmt: skip
def test_layouts_stay(source: str) -> None:
    assert write(tree_of(source)) == source


def test_terms_are_what_is_written() -> None:
    tree = tree_of("- no\n- 1.0\n- 2020-01-01\n- ~\n- 0x1F\n- 'no'\n- \"x\\ty\"\n")
    assert [term.text for term in tree.terms] == ["no", "1.0", "2020-01-01", "~", "0x1F", "no", "x\ty"]
    assert outline(tree_of("1: [on]\ntrue: [null]\n2020-01-01: a\n")) == [
        "", ["1", "on"], ["true", "null"], ["2020-01-01", "a"]
    ]  # fmt: skip


def test_comments_belong_to_what_they_are_about() -> None:
    tree = tree_of(FILE)
    warm, cold = tree.branches
    assert tree.above == ["Colours for prompts", "second line", ""]
    assert (warm.above, warm.comment) == (["instruction: only colours"], "instruction: no pastels")
    assert [term.comment for term in warm.terms] == ["", "not the fruit", "", "", ""]
    assert [term.above for term in warm.terms] == [[], [], ["between"], [""], []]
    assert (warm.below, cold.above, cold.below) == (["end of warm"], ["above cold"], ["end of cold"])
    assert branch_of(tree, "single").comment == "beside a value"
    assert tree.below == ["", "end of the file"]


MOVED = """\
# Colours for prompts
# second line

# above cold
cool:
  - blue: &blues
      - navy
      - teal   # three spaces
      - orange # not the fruit
  - sky: *blues
  - single: azure # beside a value
  - empty:
  - brackets: [a, 'b', {c: d}]
  - nothing: ~
  - none: []
  # between
  - 'no'
  # end of cold
# instruction: only colours
warm: # instruction: no pastels
  - red

  - 2020-01-01
  - "a \\u0041 \\t"
  # end of warm

# end of the file
"""


def test_comments_go_with_what_is_moved_renamed_and_merged() -> None:
    tree = tree_of(FILE)
    warm, cold = tree.branches
    orange = warm.terms[1]
    warm.children.remove(orange)
    branch_of(tree, "blue").children.append(orange)
    tree.children = [cold, warm]
    cold.name = "cool"
    cold.children += warm.children[1:2]
    del warm.children[1]
    written = write(tree)
    assert "# above cold\ncool:\n" in written
    assert written == MOVED
    assert tree_of(written).term_counts() == tree.term_counts()
    assert write(tree_of(written)) == written


def test_what_is_shared_is_an_anchor_and_an_alias() -> None:
    tree = tree_of(FILE)
    blue, sky = branch_of(tree, "blue"), branch_of(tree, "sky")
    assert blue.children is sky.children
    blue.children.append(Term("indigo"))
    written = write(tree)
    assert "blue: &blues\n" in written
    assert "sky: *blues\n" in written
    assert tree_of(written).term_counts()["indigo"] == 2


def test_an_alias_of_the_same_name_is_the_same_branch() -> None:
    source = "a:\n  c: &x [d]\nb:\n  c: *x\n"
    tree = tree_of(source)
    assert tree.branches[0].children[0] is tree.branches[1].children[0]
    assert write(tree) == source


def test_a_branch_in_two_places_gets_an_anchor() -> None:
    shared = Branch("c", [Term("d")])
    tree = Branch("", [Branch("a", [shared]), Branch("b", [shared])])
    assert write(tree) == "a:\n  c: &id001\n    - d\nb:\n  c: *id001\n"


def test_an_alias_before_its_anchor_becomes_the_anchor() -> None:
    tree = tree_of("a: &x [b]\nc: *x\n")
    tree.children.reverse()
    assert write(tree) == "c: &x [b]\na: *x\n"


def test_an_anchor_that_is_redefined_keeps_each_term() -> None:
    tree = tree_of("- &x a\n- *x\n- &x b\n- *x\n")
    assert [term.text for term in tree.terms] == ["a", "a", "b", "b"]
    assert [term.text for term in tree_of(write(tree)).terms] == ["a", "a", "b", "b"]


def test_a_renamed_term_keeps_its_quotes() -> None:
    tree = tree_of("- 'a'\n- \"b\"\n- c\n")
    for term in tree.terms:
        term.text += " new"
    assert write(tree) == "- 'a new'\n- \"b new\"\n- c new\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no", "'no'"), ("1.5", "'1.5'"), ("2020-01-01", "'2020-01-01'"), ("3D printer", "3D printer"),
        ("a: b", "'a: b'"), ("a # b", "'a # b'"), ("it's", "it's"), ("'", "''''"), ("a\nb", '"a\\nb"'),
        ("\x85", '"\\u0085"'), ("~", "'~'"), ("- a", "'- a'"), ("http://x", "http://x"), ("é", "é"), (" a", "' a'"),
    ],
)  # fmt: skip
def test_new_terms_are_quoted_where_a_reader_would_take_them_for_something_else(text: str, line: str) -> None:
    assert write(Branch("", [Term(text)])) == f"- {line}\n"


def test_a_new_branch_is_indented_as_the_file_is() -> None:
    tree = tree_of("a:\n    b:\n    -   c\n")
    tree.branches[0].children.append(Branch("new", [Term("t"), Term("u")]))
    assert write(tree) == "a:\n    b:\n    -   c\n    new:\n    -   t\n    -   u\n"


def test_branches_of_one_name_are_kept_apart() -> None:
    written = write(Branch("", [Branch("a", [Term("b")]), Branch("a", [Term("c")])]))
    assert written == "- a:\n    - b\n- a:\n    - c\n"
    assert outline(tree_of(written)) == ["", ["a", "b"], ["a", "c"]]


def test_a_comment_never_becomes_a_term() -> None:
    tree = Branch("", [Term("a", comment="x\n- b", above=["y\n- c"])])
    assert write(tree) == "# y\n# - c\n- a  # x - b\n"


def test_a_key_of_any_length() -> None:
    name = "k" * 5000
    written = write(Branch("", [Branch(name, [Term("a", comment="c")], comment="d")]))
    assert outline(tree_of(written)) == ["", [name, "a"]]
    assert write(tree_of(written)) == written


@pytest.mark.parametrize("levels", [100, 1000])
def test_deep_nesting(levels: int) -> None:
    source = "".join("  " * level + f"k{level}:\n" for level in range(levels)) + "  " * levels + "- x\n"
    assert write(tree_of(source)) == source
    tree = tree_of("{a: " * levels + "x" + "}" * levels)
    assert tree.term_counts() == {"x": 1}
    assert tree_of(write(tree)).term_counts() == {"x": 1}


@pytest.mark.parametrize("line", ["  - term {}", "  - 'term {}' # c", "  - é: {}", "  - a: [{}]", "  é {}: 'b'   # c"])
def test_long_lists(line: str) -> None:
    source = "list:\n" + "".join(f"{line.format(number)}\n" for number in range(3000))
    tree = tree_of(source)
    assert sum(tree.term_counts().values()) == 3000
    assert write(tree) == source


def test_a_hundred_thousand_terms_in_one_list() -> None:
    source = "".join(f"- term {number}\n" for number in range(100_000))
    tree = tree_of(source)
    assert len(tree.terms) == 100_000
    assert write(tree) == source


@pytest.mark.parametrize("text", ["list: |\n", "list: '\n", "list: a\n", "list: [\n"])
def test_lines_that_only_look_like_a_long_list(text: str) -> None:
    source = text + "".join(f"  - term {number}\n" for number in range(100)) + ("'\n" if "'" in text else "")
    if "[" in text:
        with pytest.raises(SourceError, match="line 2, column 3"):
            tree_of(source)
    else:
        (term,) = tree_of(source).branches[0].terms
        assert "- term 50" in term.text


ALIASES = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{level}: &a{level} {{" + ", ".join(f"k{each}: *a{level - 1}" for each in range(10)) + "}\n"
    for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a:\n\t- x\n", "line 2, column 1: .*indent with spaces"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' stands twice"),
        ("- a: 1\n  a: 2\n", "line 2, column 3: the key 'a' stands twice"),
        ("a: [1\n", "line 2, column 1: this is not YAML"),
        ("a: b: c\n", "line 1, column 5: this is not YAML"),
        ("a: *x\n", r"line 1, column 4: the alias \*x has no anchor before it"),
        ("a: &x\n  b: *x\n", r"line 2, column 6: the alias \*x stands within what it names"),
        (ALIASES, "more than 10,000,000 terms and branches"),
        ("", "there are no terms"),
        ("# only a comment\n", "there are no terms"),
        ("---\n", "there are no terms"),
        ("[]\n", "there are no terms"),
        ("a\0b", r"line 1, column 2: U\+0000"),
        ("- - x\n", "line 1, column 3: a list stands in a list"),
        ("a: &x [b]\nc: [*x]\n", "line 2, column 5: a list stands in a list"),
        ("? [a]\n: b\n", "line 1, column 3: this key is no text"),
        ("'': b\n", "line 1, column 1: this key is empty"),
        ("- a\n-\n", "line 2, column 2: this item of a list is empty"),
        ("a: ''\n", "line 1, column 4: this term is empty"),
        ("a: b\n---\nc: d\n", "line 2, column 1: a second document"),
    ],
)
def test_wrong_input_is_told_in_one_line(source: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as raised:
        tree_of(source)
    assert "\n" not in str(raised.value)


def test_a_tag_is_a_text_and_makes_no_object() -> None:
    source = "- !!python/object/apply:os.getcwd []\n"
    with pytest.raises(SourceError, match="a list stands in a list"):
        tree_of(source)
    source = "a: !!python/object/apply:os.getcwd x\n"
    tree = tree_of(source)
    assert tree.term_counts() == {"x": 1}
    assert write(tree) == source
