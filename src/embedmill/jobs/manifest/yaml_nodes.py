"""A manifest in YAML, as nodes with places: of YAML's many types those that JSON has, and no objects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from embedmill.core.errors import MissingExtra
from embedmill.jobs.manifest.nodes import DEEPEST, MOST_NODES, ManifestNode, NotRead, Pair, Place, Scalar, number

if TYPE_CHECKING:
    from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

    YamlNode = ScalarNode | SequenceNode | MappingNode

_TAG: Final = "tag:yaml.org,2002:"
_NUMBER: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?")


def read_yaml(text: str, file: str) -> ManifestNode | None:
    """The one document of a text; None where it has none.

    Raises `NotRead` for what is no YAML, and for tags, merge keys and aliases beyond measure; `MissingExtra` where
    ruamel.yaml is not installed.
    """
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError
    except ImportError:
        raise MissingExtra("a manifest in YAML", "taxonomies") from None
    start = Place(file, 1, 1)
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False  # an anchor may stand twice: aliases mean the one before them
        root = yaml.compose(text)
    except RecursionError:
        raise NotRead("is nested too deep: a manifest has `defaults`, `jobs` and `matrix`", start) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else start
        raise NotRead(f"is no YAML: {_told(error)}", place) from None
    except YAMLError as error:  # of characters, with a position in place of a mark
        raise NotRead(f"is no YAML: {str(error).splitlines()[0]}", _place_of(error, text, file)) from None
    return None if root is None else _Conversion(file).node(root, 0)


def _told(error: Any) -> str:
    problem = error.problem or "it cannot be read"
    if "'\\t'" in problem:
        return "a tab cannot begin a value: indent with spaces"
    if "<stream end>" in problem:
        return f"it ends too early ({error.context or 'within a value'}): is the file cut?"
    return f"{problem} ({error.context})" if error.context and "another document" not in problem else problem


def _place_of(error: Any, text: str, file: str) -> Place:
    before = text[: getattr(error, "position", 0) or 0]
    return Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


class _Conversion:
    """From ruamel's nodes to ours; counts them, since aliases repeat what they stand for."""

    def __init__(self, file: str) -> None:
        self._file, self._count = file, 0

    def node(self, node: YamlNode, depth: int) -> ManifestNode:
        place = Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)
        self._count += 1
        if self._count > MOST_NODES:
            raise NotRead(f"has more than {MOST_NODES:,} values, or aliases that grow to as many: divide it", place)
        if depth > DEEPEST:
            raise NotRead(f"is nested more than {DEEPEST} deep: is an alias within what it stands for?", place)
        tag = str(node.tag)
        if node.id == "scalar":
            return ManifestNode(self._scalar(tag, node.value, place), place, "scalar")
        if tag not in (_TAG + "map", _TAG + "seq"):
            raise _tagged(tag, place)
        if node.id == "sequence":
            return ManifestNode(tuple(self.node(item, depth + 1) for item in node.value), place, "list")
        return ManifestNode(tuple(self._pair(key, value, depth + 1) for key, value in node.value), place, "mapping")

    def _pair(self, key: YamlNode, value: YamlNode, depth: int) -> Pair:
        place = Place(self._file, key.start_mark.line + 1, key.start_mark.column + 1)
        if str(key.tag) == _TAG + "merge":
            raise NotRead("merge keys (<<) are not taken: write what is shared under `defaults`", place)
        if key.id != "scalar":
            raise NotRead("a key is a list or a mapping: give the name of an option", place)
        return Pair(key.value, place, self.node(value, depth))

    def _scalar(self, tag: str, written: str, place: Place) -> Scalar:
        match tag.removeprefix(_TAG):
            case "str" | "timestamp":  # a date is the name of a file, or nothing
                return written
            case "null":
                return None
            case "bool":
                return written.lower() in ("true", "yes", "on")  # those of YAML 1.1 where a file says that it is such
            case "int" | "float" if _NUMBER.fullmatch(written):
                return number(written, place)
            case "int" | "float":  # .inf, hexadecimal numbers, those with underscores
                raise NotRead(
                    f"{written[:40]} is no number as JSON has them: write it with digits, or as text in quotes", place
                )
        raise _tagged(tag, place)


def _tagged(tag: str, place: Place) -> NotRead:
    shown = tag.replace(_TAG, "!!")[:60]
    return NotRead(f"the tag {shown} is not taken: a manifest has text, numbers, lists and mappings", place)
