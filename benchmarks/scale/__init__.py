"""The platform at a hundred thousand and a million records."""
