"""The formula language: parsed, checked, evaluated in Python or PostgreSQL. It does no I/O."""
