"""Trees of terms: read, arranged by meaning, checked, compared and written, with no term lost."""
