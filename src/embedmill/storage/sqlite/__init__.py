"""What the adapters for SQLite share: how a file is opened, its errors in embedmill's words, names, locks."""
