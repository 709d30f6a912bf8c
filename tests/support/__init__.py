"""Factories and fixtures by topic."""
