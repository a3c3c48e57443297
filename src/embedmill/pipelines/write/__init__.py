"""Chunks that were made elsewhere into a store."""
