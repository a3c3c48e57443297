"""A manifest: read, checked whole, and made into jobs."""
