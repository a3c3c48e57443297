"""Worker processes, which may crash, leak and hang without harm to the run."""
