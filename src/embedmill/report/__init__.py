"""What a store holds and how its runs went, as numbers and as a page."""
