"""Whether vectors are right, and whether a search finds what it ought to: golden sets, and questions with answers."""
