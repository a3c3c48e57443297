"""Cuts a document into chunks that fit the model: pure, streaming, the same text always cut the same way."""
