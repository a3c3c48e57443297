"""Where embedders run: one file for each place."""
