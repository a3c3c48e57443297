"""Documents whose vectors are on their way: what becomes of their pieces, and when they are whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from embedmill.core.documents import Failure, Record, Replacement
from embedmill.core.vectors import Cause, Vector
from embedmill.engine.sink import Origin
from embedmill.pipelines.index.reader import Event, Listed, Pending, Piece
from embedmill.pipelines.index.writer import STAGE_AT, Writer


class OpenDocuments:
    """A sink of pieces, which hands documents to the writer as soon as they are whole."""

    def __init__(self, writer: Writer, precision: str) -> None:
        self._writer = writer
        self._precision = precision
        self._open: dict[str, Pending] = {}  # those with records that are not staged yet
        self.finished = 0
        self.finished_bytes = 0  # of these, and of the finished pieces of others

    def pieces(self, events: Iterable[Sequence[Event]], on_group: Callable[[], None]) -> Iterator[Sequence[Piece]]:
        """The pieces among the reader's events, group by group; what else there is in a group is done after them."""
        for group in events:
            pieces = [event for event in group if isinstance(event, Piece)]
            yield pieces
            for event in group[len(pieces) :]:  # pieces come first
                match event:
                    case Pending():
                        self._release(event)
                    case Listed(ids, touched):
                        self._writer.listed(ids, touched)
                    case Failure():
                        self._writer.fail(event)
            on_group()

    def accept(self, piece: Piece, vector: Vector, origin: Origin) -> None:
        """Add a piece's record to those of its document."""
        self._advance(piece)
        document = piece.document
        document.records.append(Record(piece.chunk, piece.hash, vector))
        self._open[document.state.id] = document
        if len(document.records) >= STAGE_AT:
            self._writer.stage(document.state.id, document.records)
            document.records = []
        self._release(document)

    def reject(self, piece: Piece, cause: Cause) -> None:
        """Add a failure to those of the piece's document."""
        self._advance(piece)
        part = piece.chunk
        piece.document.failures.append(
            Failure(part.source_file, part.chunk_index, part.start, part.end, part.line, cause)
        )
        self._release(piece.document)

    def stage_unfinished(self) -> None:
        """Stage what has been embedded of documents that are not whole, so that the next run finds it."""
        for name, document in self._open.items():
            if document.records:
                self._writer.stage(name, document.records)

    def _advance(self, piece: Piece) -> None:
        # Batches take chunks by length, so that many documents are under way at once and few are whole.
        document = piece.document
        more = min(piece.chunk.end - piece.chunk.start, document.state.size - document.bytes_done)
        document.bytes_done += more
        self.finished_bytes += more

    def _release(self, document: Pending) -> None:
        document.outstanding -= 1
        if document.outstanding:
            return
        self._open.pop(document.state.id, None)
        self.finished += 1
        self.finished_bytes += document.state.size - document.bytes_done
        self._writer.replace(Replacement(document.state, self._precision, document.records, document.failures))
