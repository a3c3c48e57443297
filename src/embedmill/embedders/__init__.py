"""Text in, vectors out: one file for each engine."""
