"""Formulas, computed cells and filters by them at scale."""
