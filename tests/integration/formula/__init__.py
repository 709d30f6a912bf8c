"""Formulas in PostgreSQL against formulas in Python."""
