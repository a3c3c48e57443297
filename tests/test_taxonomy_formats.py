"""Files of terms by what is in them: read, written, and what is wrong with them told in one line."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from embedmill.core.errors import MissingExtra, SourceError, UsageError
from embedmill.taxonomy.formats.registry import READERS, WRITERS, read_tree, tree_of, write_tree
from embedmill.taxonomy.formats.txt_folder import safe_name
from embedmill.taxonomy.tree import Branch, Term
from taxonomy_trees import outline, shared_data

TENCENT = (
    "category_index\tcategory_id\tindex_of_parent_category\tcategory name\n"
    "0\tn1\t-1\tthing\n1\tn2\t0\tobject, physical object\n2\tn3\t0\tmatter\n3\tn4\t1\tball, globe, orb\n"
)
DICTIONARY = "0\ttench\tTinca\ttinca\n1\tgoldfish\n"
INDEX = '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}'
COCO = json.dumps(
    {
        "info": {},
        "categories": [
            {"supercategory": "animal", "id": 17, "name": "cat"},
            {"supercategory": "vehicle", "id": 2, "name": "bicycle"},
            {"supercategory": "animal", "id": 18, "name": "dog"},
            {"id": 19, "name": "thing"},
        ],
    }
)
OPEN_IMAGES = json.dumps(
    {
        "LabelName": "/m/0",
        "Subcategory": [
            {"LabelName": "/m/1", "Subcategory": [{"LabelName": "/m/2"}], "Part": [{"LabelName": "/m/3"}]},
            {"LabelName": "/m/2"},
        ],
    }
)
CLASSES = '/m/1,Person\n/m/2,"Man, adult"\n/m/3,Arm\n'
NESTED = '{"a": ["x", 1.0, {"b": "y"}, true], "c": {"d": [], "e": null}}'
LINES = "".join(
    json.dumps({"text": text, "label": (names or [""])[-1], "hierarchy": names}) + "\n"
    for text, names in (("top", []), ("x", ["a"]), ("y", ["a", "b"]), ("z", ["a"]))
)
PARENTS = "parent,child\n,animal\nanimal,cat\nanimal,dog\ndog,poodle\n,plant\n"

EXAMPLES: list[tuple[str, str, list[Any]]] = [
    ("tencent", TENCENT, ["", ["thing", ["object", "ball"], "matter"]]),
    ("imagenet", DICTIONARY, ["", "tench Tinca tinca", "goldfish"]),
    ("imagenet-index", INDEX, ["", "tench", "goldfish"]),
    ("coco", COCO, ["", ["animal", "cat", "dog"], ["vehicle", "bicycle"], "thing"]),
    ("open-images", OPEN_IMAGES, ["/m/0", ["/m/1", "/m/2", "/m/3"], "/m/2"]),
    ("json", NESTED, ["", ["a", "x", "1.0", ["b", "y"], "true"], ["c", ["d"], ["e"]]]),
    ("jsonl", '{"text": "x", "hierarchy": ["a", "b"]}\n', ["", ["a", ["b", "x"]]]),
    ("jsonl", LINES, ["", "top", ["a", "x", ["b", "y"], "z"]]),
    ("csv", PARENTS, ["", ["animal", "cat", ["dog", "poodle"]], "plant"]),
    ("yaml", "a:\n  - x\n", ["", ["a", "x"]]),
    ("yaml", "[a, {b: c}]\n", ["", "a", ["b", "c"]]),
    ("yaml", "- a\n- b\n", ["", "a", "b"]),
    ("flat", "# Colours\n\nred\nlight blue # of the sky\nred\n#C\nC#\n", ["", "red", "light blue", "red", "C#"]),
    ("flat", "tench\n1\ta\n", ["", "tench", "1\ta"]),
]


@pytest.mark.parametrize(("name", "text", "expected"), EXAMPLES)
@pytest.mark.parametrize("named", [False, True])
def test_a_format_is_known_by_its_content_or_its_name(name: str, text: str, expected: list[Any], named: bool) -> None:
    assert outline(tree_of("terms", text.encode(), name if named else "auto")) == expected


def test_each_format_has_an_example() -> None:
    assert {each.name for each in READERS} == {name for name, _, _ in EXAMPLES}


def test_synonyms_and_identifiers_are_kept() -> None:
    tree = tree_of("terms", TENCENT.encode())
    (thing,) = tree.branches
    (ball,) = thing.branches[0].terms
    assert (thing.branches[0].comment, thing.branches[0].id) == ("physical object", "n2")
    assert (ball.text, ball.comment, ball.id) == ("ball", "globe, orb", "n4")
    assert [term.id for term in tree_of("terms", INDEX.encode()).terms] == ["n01440764", "n01443537"]
    assert tree_of("terms", COCO.encode()).branches[0].terms[0].id == "17"


def test_classes_name_the_labels_of_open_images() -> None:
    tree = tree_of("h.json", OPEN_IMAGES.encode(), classes=("c.csv", CLASSES.encode()))
    assert outline(tree) == ["/m/0", ["Person", "Man, adult", "Arm"], "Man, adult"]
    headed = ("c.csv", ("LabelName,DisplayName\n" + CLASSES).encode())
    assert outline(tree_of("h.json", OPEN_IMAGES.encode(), classes=headed)) == outline(tree)
    with pytest.raises(UsageError, match="the names of Open Images"):
        tree_of("a.txt", b"a\n", classes=headed)


def test_comments_of_a_list_are_kept() -> None:
    tree = tree_of("terms", b"# Colours\nred\nblue # of the sky\n# end\n")
    assert tree.terms[0].above == ["Colours"]
    assert tree.terms[1].comment == "of the sky"
    assert tree.below == ["end"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_need_no_guess(encoding: str) -> None:
    text = "caf\u00e9\ncafe\u0301\nstra\u00dfe\n"  # two spellings of one word are two terms
    assert [term.text for term in tree_of("terms", text.encode(encoding)).terms] == text.split()


@pytest.mark.parametrize("levels", [100, 1000, 100_000])
def test_deep_json_is_read_or_refused(levels: int) -> None:
    data = ('{"a": ' * levels + '["x"]' + "}" * levels).encode()
    if levels == 100:
        assert tree_of("a.json", data).term_counts() == {"x": 1}
        return
    try:
        assert tree_of("a.json", data).term_counts() == {"x": 1}
    except SourceError as error:
        assert str(error) == "a.json: this JSON is too deep to be read: give it as YAML, or with fewer levels"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    assert outline(tree_of("terms", f"a{end}b{end}".encode())) == ["", "a", "b"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", "there are no terms"),
        ("a.txt", b"# only\n\n", "there are no terms"),
        ("a.txt", b"red\nblu\xe9\n", "line 2, column 4: this is not UTF-8"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\xff", "binary data"),
        ("a.txt", b"red\nb\0lue\n", r"line 2, column 2: U\+0000"),
        ("a.txt", b"\xff\xfea\x00b", "this is not UTF-16-LE"),
        ("a.json", b'{"a": [1,}', "line 1, column 10: this is not JSON"),
        ("a.json", b'{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("a.json", b"[" * 100_000, "too deep|not JSON"),
        ("a.json", b'{"a": [["b"]]}', "a list stands in a list, below 'a'"),
        ("a.json", b'{"a": [""]}', "a term below 'a' is empty"),
        ("a.json", b'{"": ["a"]}', "a key below '' is empty"),
        ("a.json", b"null", "there are no terms"),
        ("a.yaml", b"a: [b\n", "line 2, column 1: this is not YAML"),
        ("a.csv", b"parent,child\na,b\nb,c\nc,a\n", "line [234]: a circle of parents: "),
        ("a.csv", b"parent,child\na,a\n", "line 2: a circle of parents: a > a"),
        ("a.csv", b"parent,child\n,animal\nanimel,cat\n", "line 3: the parent 'animel' is in no line; did you mean"),
        ("a.csv", b"parent,child\na,\n", "line 2: the child is empty"),
        ("a.csv", b"parent,child\na\n", "line 2: 1 columns where there should be 2"),
        ("a.csv", b"parent,child\na,b,c\n", "line 2: 3 columns where there should be 2"),
        ("a.csv", b'parent,child\na,"b\n', "line [23]: this is not CSV"),
        ("a.csv", b"id,parent,child\n1,,a\n1,,b\n", "line 3: '1' stands twice"),
        ("a.csv", b"id,parent,child\n,,a\n", "line 2: the id is empty"),
        ("a.csv", b"id,parent,child\n1,7,a\n", "line 2: the parent '7' is in no line"),
        ("a.csv", b"id,parent,child,kind\n1,,a,leaf\n", "line 2: the kind is 'leaf'"),
        ("a.csv", b"parent,child\n", "there are no terms"),
        ("a", TENCENT.encode() + b"4\tn5\t99\tx\n", "line 6: the parent '99' is in no line"),
        ("a", TENCENT.encode() + b"4\tn5\t4\tx\n", "line 6: a circle of parents: x > x"),
        ("a", TENCENT.encode() + b"4\tn5\n", "line 6: 2 fields where there should be 4"),
        ("a", TENCENT.encode() + b"3\tn5\t0\tx\n", "line 6: '3' stands twice"),
        ("a", TENCENT.encode() + b"x\tn5\t0\tx\n", "line 6: the index is 'x'"),
        ("a", TENCENT.encode() + b"4\tn5\t0\t, y\n", "line 6: the name is empty"),
    ],
)
def test_wrong_input_is_told_in_one_line(name: str, data: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message) as raised:
        tree_of(name, data)
    assert str(raised.value).startswith(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("imagenet", "0\ta\nb\n", "line 2: expected a number"),
        ("imagenet-index", '{"0": ["a"]}', "the class '0'"),
        ("imagenet-index", "[]", "the class ''"),
        ("coco", "{}", "there are no categories"),
        ("coco", '{"categories": []}', "there are no terms"),
        ("coco", '{"categories": [{"id": 1}]}', "the category at place 0"),
        ("open-images", "{}", "this is no hierarchy"),
        ("open-images", '{"LabelName": "a", "Subcategory": [{}]}', "a node of the hierarchy"),
        ("open-images", '{"LabelName": "a", "Subcategory": {"b": 1}}', "Subcategory of 'a'"),
        ("open-images", '{"LabelName": "a", "Subcategory": []}', "there are no terms"),
        ("json", "a\n", "line 1, column 1: this is not JSON"),
    ],
)
def test_a_named_format_that_the_file_does_not_have(name: str, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        tree_of("file", text.encode(), name)


@pytest.mark.parametrize("text", ["/m/1\n", "/m/1,\n", '/m/1,"a\n', "/m/1,a\n/m/1,b\n"])
def test_classes_that_are_wrong(text: str) -> None:
    with pytest.raises(SourceError, match=r"c\.csv, line [12]: "):
        tree_of("h.json", OPEN_IMAGES.encode(), classes=("c.csv", text.encode()))


def test_parents_without_a_header_or_a_root() -> None:
    assert outline(tree_of("a.csv", b"b,c\na,b\nd,e\n")) == ["", ["a", ["b", "c"]], ["d", "e"]]


def test_a_child_of_two_parents_stands_below_both() -> None:
    tree = tree_of("a.csv", b"parent,child\na,x\nb,x\nx,y\na,z\nb,z\n")
    assert tree.term_counts() == {"y": 2, "z": 2}
    assert tree.branches[0].branches[0] is tree.branches[1].branches[0]


def test_parents_that_grow_without_end() -> None:
    rows = "".join(f"n{level},n{level + 1}\n" * 10 for level in range(10))
    with pytest.raises(SourceError, match="more than 10,000,000"):
        tree_of("a.csv", f"parent,child\n{rows}".encode())


def test_a_format_that_is_not_known() -> None:
    with pytest.raises(UsageError, match="did you mean 'yaml'"):
        tree_of("a", b"a", "yml")
    with pytest.raises(UsageError, match="did you mean 'jsonl'"):
        write_tree(Branch("", [Term("a")]), Path("a"), "json")


def test_yaml_without_its_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    with pytest.raises(MissingExtra, match=r"pip install 'embedmill\[taxonomies\]'"):
        tree_of("a.yaml", b"- a\n")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_tree(tmp_path / "none.txt")
    with pytest.raises(SourceError, match="cannot be written: No such file"):
        write_tree(Branch("", [Term("a")]), tmp_path / "none" / "a.yaml")


TREE = Branch(
    "", [Term("top"), Branch("a", [Term("x, y", "gloss"), Term("x, y"), Branch("b", [Term("z")]), Branch("empty")])]
)


def test_json_lines(tmp_path: Path) -> None:
    write_tree(TREE, tmp_path / "a.jsonl", "jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert rows == [
        {"text": "top", "label": "", "hierarchy": []},
        {"text": "x, y", "label": "a", "hierarchy": ["a"]},
        {"text": "x, y", "label": "a", "hierarchy": ["a"]},
        {"text": "z", "label": "b", "hierarchy": ["a", "b"]},
    ]


@pytest.mark.parametrize(
    "line", ["x", "{", "[]", '{"text": 1, "hierarchy": []}', '{"text": "a", "hierarchy": "b"}', '{"text": "a"}']
)
def test_a_line_of_json_that_is_no_term(line: str) -> None:
    with pytest.raises(SourceError, match="line 2: no term: write"):
        tree_of("a.jsonl", f'{{"text": "a", "hierarchy": []}}\n{line}\n'.encode())


def test_csv_is_read_back_as_it_was(tmp_path: Path) -> None:
    write_tree(TREE, tmp_path / "a.csv", "csv")
    again = read_tree(tmp_path / "a.csv")
    assert outline(again) == outline(TREE)
    assert again.branches[0].terms[0].comment == "gloss"


def test_a_folder_of_text_files(tmp_path: Path) -> None:
    written = write_tree(TREE, tmp_path / "out", "txt-folder")
    found = {str(path.relative_to(tmp_path / "out")): path.read_text() for path in written}
    assert found == {"terms.txt": "top\n", "a.txt": "x, y # gloss\nx, y\n", "a/b.txt": "z\n", "a/empty.txt": ""}
    assert sorted(path for path in (tmp_path / "out").rglob("*.txt")) == sorted(written)
    with pytest.raises(UsageError, match="is not empty: give a new folder"):
        write_tree(TREE, tmp_path / "out", "txt-folder")


def test_a_folder_of_text_files_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tree(TREE, tmp_path / "out", "txt-folder")
    (tmp_path / "out/.hidden.txt").write_text("hidden")
    (tmp_path / "out/link.txt").symlink_to("/etc/hostname")
    (tmp_path / "out/note.md").write_text("no list")
    again = read_tree(tmp_path / "out")
    assert outline(again) == ["", "top", ["a", "x, y", "x, y", ["b", "z"], ["empty"]]]
    assert again.branches[0].terms[0].comment == "gloss"
    assert "files that do not end in .txt are left out: 1" in caplog.text
    once_more = write_tree(again, tmp_path / "again", "txt-folder")
    assert {path.relative_to(tmp_path / "again"): path.read_text() for path in once_more} == {
        path.relative_to(tmp_path / "out"): path.read_text() for path in (tmp_path / "out").rglob("[!.l]*.txt")
    }
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match=r"has no terms: give a folder with \.txt files"):
        read_tree(tmp_path / "none")
    with pytest.raises(UsageError, match="format is 'yaml'"):
        read_tree(tmp_path / "out", "yaml")


NAMES = ["../../etc", "/root", "..", ".", "", "a/b", "a\\b", "CON", "nul.txt", "A", "a", "a.txt", "ß", "ss", "x" * 300,
         "é", "e\u0301", "terms", "a\nb", "a\0b", " a ", "-rf", "~", "日本" * 80]  # fmt: skip


def test_no_name_leads_out_of_the_folder_and_none_is_lost(tmp_path: Path) -> None:
    tree = Branch("", [Term("t"), *(Branch(name, [Term(f"t{number}")]) for number, name in enumerate(NAMES))])
    written = write_tree(tree, tmp_path / "out", "txt-folder")
    assert len({str(path).casefold() for path in written}) == len(NAMES) + 1
    assert all(path.resolve().parent == (tmp_path / "out").resolve() for path in written)
    assert Counter(path.read_text() for path in written) == Counter(
        ["t\n", *(f"t{number}\n" for number in range(len(NAMES)))]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_safe_names() -> None:
    assert [safe_name(name) for name in ("Big Cats", "a/b", "..", "con", "C++")] == [
        "Big Cats",
        "a_b",
        "_",
        "_con",
        "C++",
    ]


@pytest.mark.parametrize("text", ["#a", " a", "a # b", "a\nb", "a\x01"])
def test_a_term_that_a_text_file_cannot_hold_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot stand in a text file"):
        write_tree(Branch("", [Branch("b", [Term(text)])]), tmp_path / "out", "txt-folder")
    assert not list(tmp_path.iterdir())


def test_a_term_that_csv_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot stand in CSV"):
        write_tree(Branch("", [Term("a\rb")]), tmp_path / "a.csv", "csv")


@pytest.mark.parametrize("data", ["tencent_ml_images_hierarchy.txt", "imagenet2012_dictionary.txt"])
@pytest.mark.parametrize("writer", [each.name for each in WRITERS])
def test_whole_data_sets_come_out_as_they_went_in(data: str, writer: str, tmp_path: Path) -> None:
    tree = read_tree(shared_data(data))
    expected = tree.term_counts()
    assert sum(expected.values()) == (9219 if "tencent" in data else 1000)
    written = write_tree(tree, tmp_path / "out", writer)
    if writer == "jsonl":  # which has no empty branches, and one of those of one name
        again = read_tree(written[0])
        found = again.term_counts()
        again_written = write_tree(again, tmp_path / "again", "jsonl")
        assert Counter(again_written[0].read_text().splitlines()) == Counter(written[0].read_text().splitlines())
    elif writer == "txt-folder":
        found = Counter()
        for path in written:
            found += read_tree(path, "flat").term_counts() if path.stat().st_size else Counter()
    else:
        again = read_tree(written[0])
        found = again.term_counts()
        assert outline(again) == outline(tree)
    assert found == expected


def test_a_block_up_to_an_empty_line_is_about_the_list() -> None:
    tree = tree_of("terms.txt", b"# about the list\n# and more\n\n# of the fox\nfox\n\n# of the wolf\nwolf\n")
    assert tree.above == ["about the list", "and more", ""]
    assert [term.above for term in tree.terms] == [["of the fox"], ["", "of the wolf"]]
