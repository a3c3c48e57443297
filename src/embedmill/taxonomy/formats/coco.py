"""The categories of COCO's annotations, below their supercategories."""

from __future__ import annotations

from typing import Any

from embedmill.taxonomy.formats.json_text import as_text, not_as_expected
from embedmill.taxonomy.formats.text import FileText
from embedmill.taxonomy.tree import Branch, Term


def fits(data: Any) -> bool:
    """Whether there is a list of categories with names."""
    found = data.get("categories") if isinstance(data, dict) else None
    return isinstance(found, list) and bool(found) and all(isinstance(each, dict) and "name" in each for each in found)


def read(file: FileText, data: Any) -> Branch:
    """Each category as a term with its id; one without a supercategory stands in the root.

    Raises `SourceError` for JSON without categories, and for a category without a name.
    """
    categories = data.get("categories") if isinstance(data, dict) else None
    if not isinstance(categories, list):
        raise not_as_expected(file, "there are no categories", '{"categories": [{"supercategory": ..., "name": ...}]}')
    root = Branch("")
    branches: dict[str, Branch] = {}
    for number, each in enumerate(categories):
        name = each.get("name") if isinstance(each, dict) else None
        above = each.get("supercategory") if isinstance(each, dict) else None
        if not isinstance(name, str) or not name or not isinstance(above, str | None):
            expected = '{"supercategory": ..., "name": ...}, both texts'
            raise not_as_expected(file, f"the category at place {number:,}, from 0,", expected)
        term = Term(name, id=as_text(each["id"]) if "id" in each else "")
        if not above:
            root.children.append(term)
            continue
        if above not in branches:
            branches[above] = Branch(above)
            root.children.append(branches[above])
        branches[above].children.append(term)
    if not root.children:
        raise file.no_terms()
    return root
