"""The story of each kind of run, from its source to its store."""
