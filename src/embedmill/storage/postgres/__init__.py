"""What the adapters for PostgreSQL share: connections, what passes by itself, the schema, pgvector's binary format."""

from typing import Final

DEFAULT_SCHEMA: Final = "embedmill"
"""Where embedmill's own tables lie in a database."""

DB_TIMEOUT: Final = 60.0
"""Seconds that a lost connection or a lock is borne; a server's restart takes some ten, a failover some thirty."""
