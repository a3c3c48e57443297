"""Questions with the documents that answer them, and which documents of a store these are."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from embedmill.core.errors import SourceError, UsageError
from embedmill.quality.json_lines import read_lines
from embedmill.runtime.paths import FilePath, file_id, quote_path


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the documents that answer it."""

    text: str
    documents: Sequence[str]  # as their paths are given: absolute, relative, or the end of a path
    place: str = ""  # where it stands, for messages: file and line


def read_questions(path: FilePath) -> list[Question]:
    """The questions of a JSON Lines file: ``{"question": "...", "documents": ["docs/a.md"]}``.

    A single document may stand without the brackets; other fields are left alone.

    Raises `SourceError`, which names file and line.
    """
    found = []
    for line in read_lines(path):
        values = line.object()
        documents = values.value("documents")
        listed = [documents] if isinstance(documents, str) else documents
        if not isinstance(listed, list):
            raise values.wrong('"documents" is no list of paths, as in ["docs/a.md"]')
        if not listed:
            raise values.wrong('"documents" is empty: name those that answer the question')
        names = [values.checked_text(name, '"documents"') for name in listed]
        found.append(Question(values.text("question"), names, line.place))
    if not found:
        raise SourceError(
            f'{quote_path(os.fspath(path))}: has no questions, as {{"question": "...", "documents": [...]}}'
        )
    return found


def checked_questions(questions: Iterable[Question]) -> list[Question]:
    """The questions, each with its place.

    Raises `UsageError` where there are none, and `SourceError` for one without words or documents, and for one that
    stands there twice.
    """
    listed = list(questions) if isinstance(questions, Iterable) else [questions]
    if not all(isinstance(each, Question) for each in listed):
        raise UsageError("questions are to be given as a file, or as a list of embedmill.Question")
    placed = [
        each if each.place else replace(each, place=f"question {number:,}") for number, each in enumerate(listed, 1)
    ]
    seen: dict[str, str] = {}
    for question in placed:
        place = question.place
        if not question.text.strip():
            raise SourceError(f"{place}: the question is empty")
        if not question.documents or not all(name.strip() for name in question.documents):
            raise SourceError(f"{place}: a document that answers it has no name")
        if question.text in seen:
            raise SourceError(f"{place}: the same question as {seen[question.text]}: name all documents in one of them")
        seen[question.text] = place
    if not placed:
        raise UsageError("no questions: give some")
    return placed


class Documents:
    """The documents of a store, found by their paths as people write them."""

    def __init__(self, ids: Iterable[str], folders: Iterable[str]) -> None:
        """`folders` are those that a relative path may be meant from."""
        self._ids = set(ids)
        self._folders = list(folders)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for document in self._ids:
            self._by_name[document.rpartition("/")[2]].append(document)

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, name: str) -> list[str]:
        """The documents that a path may stand for: none, one, or several where it is the end of several paths.

        It is taken as it is, then from each of the folders; then as the end of a path.
        """
        if name in self._ids:
            return [name]
        for folder in self._folders:
            path = os.path.join(folder, name)  # noqa: PTH118 - text, as document ids are
            for each in (os.path.abspath(path), os.path.realpath(path)):  # noqa: PTH100
                if (document := file_id(each)) in self._ids:
                    return [document]
        end = "/" + os.path.normpath(name).lstrip("/")
        return sorted(each for each in self._by_name[end.rpartition("/")[2]] if each.endswith(end))
