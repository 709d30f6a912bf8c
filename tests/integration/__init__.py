"""Code against real PostgreSQL, Valkey and HTTP."""
