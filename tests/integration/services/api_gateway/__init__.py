"""The gateway over real HTTP, with real PostgreSQL and Valkey behind it."""
