"""Vectors for the rows of a user's table."""
