"""What may be wrong with a tree of terms."""
