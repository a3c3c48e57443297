"""Many jobs from one manifest: each a command of its own, run side by side."""
