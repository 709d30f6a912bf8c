"""File on real PostgreSQL and a real object store, over HTTP where it is public."""
