"""Whether a search finds what it ought to: questions whose answers are known, put to one store or to two."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Final, NamedTuple, Unpack

from embedmill.api.read_settings import read_settings
from embedmill.api.search import Searcher
from embedmill.api.settings import SearchOptions, StoreOptions, check_options
from embedmill.api.stores import open_chosen_store
from embedmill.core.checks import text_or_none, whole_number
from embedmill.core.documents import source_file_of
from embedmill.core.errors import SourceError, StoreError, UsageError
from embedmill.quality.questions import Documents, Question, checked_questions, read_questions
from embedmill.quality.ranking import ndcg_at, recall_at, reciprocal_rank_at
from embedmill.runtime.paths import FilePath, quote_path

_CHUNKS: Final = 4
"""Chunks asked for at first, for each document that is wanted; where they are of too few documents, more."""

_SHOWN: Final = 3  # documents that are kept of what was found


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search has made of one question."""

    question: str
    place: str  # of the question: file and line
    documents: Sequence[str]  # that answer it
    ranks: Sequence[int | None]  # of these, counted from 1 over documents; None beyond rank k
    found: Sequence[str]  # the first documents, at most 3

    @property
    def rank(self) -> int | None:
        """The best rank; None where none of the documents was found."""
        return min((rank for rank in self.ranks if rank is not None), default=None)


@dataclass(frozen=True, slots=True)
class StoreEvaluation:
    """How a store has answered. The measures are means over all questions, each from 0 to 1."""

    store: str  # its URL, without a password
    model: str
    space: str
    documents: int  # those without chunks too: empty files
    recall: float  # share of the documents asked for that are among the first k
    mrr: float  # mean of 1 over the rank of the first such document
    ndcg: float  # normalised discounted cumulative gain
    answers: Sequence[Answer] = field(repr=False)

    @property
    def failed(self) -> list[Answer]:
        """The questions of which no answer was among the first k."""
        return [answer for answer in self.answers if answer.rank is None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation has shown, of one store or of two."""

    k: int
    questions: int
    stores: Sequence[StoreEvaluation]

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as it appears under ``--json``."""
        shown = [asdict(each) | {"failed": [asdict(answer) for answer in each.failed]} for each in self.stores]
        return {"k": self.k, "questions": self.questions, "stores": shown}


def evaluate(
    questions: FilePath | Iterable[Question],
    *,
    store: str | None = None,
    against: str | None = None,
    k: int = 10,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Unpack[SearchOptions],
) -> Evaluation:
    """Put questions to a store, and measure how well it finds what answers them: ``embedmill evaluate``.

    `questions` are a file of JSON Lines, or `Question` objects. A document is found where one of its chunks is, and has
    the rank that it has among documents, of which the first `k` count: see `embedmill.quality.ranking`. `against` is
    the URL of a second store to compare with, filled from the same files with another model, for example.
    `options` are those of the first store. `on_progress` is told how many searches are done, and how many there are.

    Raises `SourceError`, which names the line, for a file that does not fit, and for a document that is in no store or
    may be several (one that one of two stores has not counts as not found there); `UsageError`, and what `Searcher`
    raises.
    """
    check_options(evaluate, options, SearchOptions)
    whole_number("k", k)
    text_or_none(store=store, against=against)
    if against is not None and not against.strip():
        raise UsageError("--against is empty: give the URL of a second store, or leave it out")
    folders = [str(Path.cwd())]
    if isinstance(questions, str | os.PathLike):
        folders.append(os.path.dirname(os.path.abspath(questions)))  # noqa: PTH100, PTH120
        asked = checked_questions(read_questions(questions))
    else:
        asked = checked_questions(questions)
    stores = [_opened(store, options, folders)]
    if against is not None:
        stores.append(_opened(against, {}, folders))
    expected = [_expected(question, stores) for question in asked]  # before any search
    evaluated = []
    for number, place in enumerate(stores):
        answers = []
        with Searcher(place.url, **place.options) as searcher:
            for row, question in enumerate(asked):
                found = _nearest(searcher, question.text, min(k, len(place.documents)))
                answers.append(_answer(question, expected[row][number], found))
                if on_progress is not None:
                    on_progress(number * len(asked) + row + 1, len(stores) * len(asked))
        evaluated.append(_measured(place, answers, k))
    return Evaluation(k, len(asked), evaluated)


class _Asked(NamedTuple):
    """A store that questions are put to."""

    url: str | None  # as it was given
    options: SearchOptions
    shown: str  # the URL without a password
    model: str
    space: str
    documents: Documents


def _opened(url: str | None, options: SearchOptions, folders: Sequence[str]) -> _Asked:
    given = {"store": url, "schema": options.get("schema"), "db_timeout": options.get("db_timeout")}
    with closing(open_chosen_store(read_settings(given, StoreOptions), write=False)) as store:
        status = store.status()
        if status.model is None or status.space is None or not status.chunks:
            raise StoreError(f"store {store.url} is empty: run `embedmill index` first")
        documents = Documents((source_file_of(state.id) for state in store.ledger()), folders)
        return _Asked(url, options, store.url, status.model, status.space, documents)


def _expected(question: Question, stores: Sequence[_Asked]) -> list[list[str]]:
    """For each store, the documents that answer the question; as it was named, where a store does not have it."""
    expected: list[list[str]] = [[] for _ in stores]
    for name in question.documents:
        found = [store.documents.find(name) for store in stores]
        shown = quote_path(name)
        for documents, store in zip(found, stores, strict=True):
            if len(documents) > 1:
                such = " and ".join(map(quote_path, documents[:2]))
                raise SourceError(
                    f"{question.place}: {shown} may be {len(documents):,} documents of {store.shown}, as {such}: give "
                    "more of its path"
                )
        if not any(found):
            where = " or ".join(store.shown for store in stores)
            raise SourceError(
                f"{question.place}: {shown} is no document of {where}: correct the path, or index it first"
            )
        for documents, of_store in zip(found, expected, strict=True):
            of_store += documents or [name]
    return [list(dict.fromkeys(documents)) for documents in expected]


def _nearest(searcher: Searcher, question: str, most: int) -> list[str]:
    """The documents of the nearest chunks, at most so many, each where its first chunk is."""
    chunks = _CHUNKS * most
    while True:
        hits = searcher.search(question, k=chunks)
        documents = list(dict.fromkeys(hit.document for hit in hits))[:most]
        if len(documents) == most or len(hits) < chunks:
            return documents
        chunks *= _CHUNKS


def _answer(question: Question, documents: Sequence[str], found: Sequence[str]) -> Answer:
    places = {document: rank for rank, document in enumerate(found, 1)}
    ranks = [places.get(document) for document in documents]
    return Answer(question.text, question.place, documents, ranks, found[:_SHOWN])


def _measured(place: _Asked, answers: Sequence[Answer], k: int) -> StoreEvaluation:
    rankings = [([rank for rank in each.ranks if rank is not None], len(each.ranks)) for each in answers]
    return StoreEvaluation(
        store=place.shown,
        model=place.model,
        space=place.space,
        documents=len(place.documents),
        recall=fmean(recall_at(k, ranks, relevant) for ranks, relevant in rankings),
        mrr=fmean(reciprocal_rank_at(k, ranks) for ranks, _ in rankings),
        ndcg=fmean(ndcg_at(k, ranks, relevant) for ranks, relevant in rankings),
        answers=answers,
    )
