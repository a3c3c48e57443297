"""What embedmill remembers from run to run apart from a store."""
