"""What the adapters for PostgreSQL share: connections, what passes by itself, the schema, pgvector's binary format."""
