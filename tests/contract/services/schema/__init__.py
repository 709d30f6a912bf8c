"""The schema service."""
