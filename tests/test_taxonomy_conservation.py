"""The terms that go in come out, from each format to each that can hold them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmill.taxonomy.formats.registry import WRITERS, read_tree, tree_of, write_tree
from embedmill.taxonomy.tree import Branch, Term
from taxonomy_trees import trees

WORDS = st.text("abAB é:,-'\"{}[]&*?|\u2028", min_size=1, max_size=8).map(str.strip).filter(bool)


def as_json(branch: Branch) -> list[Any]:
    return [child.text if isinstance(child, Term) else {child.name: as_json(child)} for child in branch.children]


def as_parents(branch: Branch) -> str:
    rows = ["id\tparent\tchild\tkind"]
    waiting = [("", child) for child in reversed(branch.children)]
    while waiting:
        parent, node = waiting.pop()
        name = node.text if isinstance(node, Term) else node.name
        quoted = '"' + name.replace('"', '""') + '"'
        key = str(len(rows))
        rows.append(f"{key}\t{parent}\t{quoted}\t{'term' if isinstance(node, Term) else 'branch'}")
        waiting += [(key, child) for child in reversed(node.children)] if isinstance(node, Branch) else []
    return "\n".join(rows)


def as_tencent(branch: Branch) -> str:
    rows = ["category_index\tcategory_id\tindex_of_parent_category\tcategory name"]
    waiting = [("-1", child) for child in reversed(branch.children)]
    while waiting:
        parent, node = waiting.pop()
        name = (node.text if isinstance(node, Term) else node.name).replace(",", ";")
        key = str(len(rows))
        rows.append(f"{key}\tn{key}\t{parent}\t{name}, synonym")
        waiting += [(key, child) for child in reversed(node.children)] if isinstance(node, Branch) else []
    return "\n".join(rows)


def source_of(tree: Branch, kind: str) -> tuple[str, Counter[str]]:
    """A file of this format, and the terms that are in it."""
    counts = tree.term_counts()
    if kind == "json":
        return json.dumps(as_json(tree)), counts
    if kind == "csv":
        return as_parents(tree), counts
    if kind == "tencent":
        leaves: Counter[str] = Counter()
        for _, branch in tree.walk():
            leaves.update(term.text.replace(",", ";") for term in branch.terms)
            leaves.update([branch.name.replace(",", ";")] if not branch.children and branch is not tree else [])
        return as_tencent(tree), leaves
    words = [text for text in counts.elements() if " # " not in text and not text.startswith("#")]
    if kind == "imagenet":
        return "".join(f"{number}\t{text}\n" for number, text in enumerate(words)), Counter(words)
    if kind == "coco":
        rows = [{"name": text, "supercategory": text[:1]} for text in words]
        return json.dumps({"categories": rows}), Counter(words)
    if kind == "open-images":
        labels = [{"LabelName": text} for text in words]
        return json.dumps({"LabelName": "top", "Subcategory": [*labels, {"LabelName": "in", "Part": labels}]}), Counter(
            words * 2
        )
    if kind == "imagenet-index":
        return json.dumps({str(number): ["n1", text] for number, text in enumerate(words)}), Counter(words)
    return "".join(f"{text}\n" for text in words), Counter(words)


KINDS = ["json", "csv", "tencent", "imagenet", "coco", "open-images", "imagenet-index", "flat"]


@pytest.mark.parametrize("writer", [each.name for each in WRITERS])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(tree=trees(texts=WORDS).filter(lambda tree: bool(tree.term_counts())))
def test_from_each_format_to_each(kind: str, writer: str, tree: Branch) -> None:
    source, expected = source_of(tree, kind)
    read = tree_of("file", source.encode(), kind)
    assert read.term_counts() == expected
    with TemporaryDirectory() as folder:
        written = write_tree(read, Path(folder) / "out", writer)
        assert terms_in(written, writer) == expected


def terms_in(files: list[Path], writer: str) -> Counter[str]:
    """The terms of what was written."""
    if writer == "jsonl":
        return Counter(json.loads(line)["text"] for line in files[0].read_text().split("\n") if line)
    if writer == "txt-folder":
        found: Counter[str] = Counter()
        for path in files:
            found += read_tree(path, "flat").term_counts() if path.stat().st_size else Counter()
        return found
    return read_tree(files[0], writer).term_counts()


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_whatever_is_in_a_file_is_a_tree_or_one_line(data: bytes) -> None:
    from embedmill.core.errors import SourceError

    try:
        tree = tree_of("file", data)
    except SourceError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert tree.children
