"""The events of ruamel.yaml's parser, its errors told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedmill.core.errors import MissingExtra
from embedmill.taxonomy.formats.text import FileText


def events(file: FileText, source: str) -> Iterator[Any]:
    """The events of a source, which is the file's text or a thinned one; untyped, as ruamel.yaml has them.

    Nothing is made of them: a tag is a text. Raises `SourceError` for what is not YAML, and `MissingExtra`.
    """
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError
    except ImportError:
        raise MissingExtra("YAML", "taxonomies") from None
    try:
        yield from YAML(typ="safe", pure=True).parse(source)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"this is not YAML: {error.problem or error.context}"
        if "'\\t'" in what:
            what += "; indent with spaces"
        raise file.wrong(what, *((mark.line + 1, mark.column + 1) if mark else ())) from None
    except YAMLError as error:
        raise file.wrong(f"this is not YAML: {error}") from None
