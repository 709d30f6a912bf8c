"""The service formula_engine on real PostgreSQL and HTTP."""
