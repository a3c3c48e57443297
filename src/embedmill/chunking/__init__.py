"""Cuts a document into chunks that fit the model: pure, streaming, the same text always cut the same way."""

from embedmill.chunking.chunker import Chunking, Measure, chunk
from embedmill.chunking.encoded import encoded_runs

__all__ = ["Chunking", "Measure", "chunk", "encoded_runs"]
