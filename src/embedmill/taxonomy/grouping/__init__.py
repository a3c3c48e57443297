"""From the vectors of a list's terms to groups of them, named."""
