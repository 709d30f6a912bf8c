"""How fast the public records API is, beside a minimal web app over the same PostgreSQL."""
