"""Auth on real PostgreSQL and Valkey, over HTTP where it is public."""
