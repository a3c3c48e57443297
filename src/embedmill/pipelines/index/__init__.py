"""Documents into a store."""
