"""CSV import against plain COPY; see README.md."""
