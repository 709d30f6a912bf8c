"""The formula language without a database."""
