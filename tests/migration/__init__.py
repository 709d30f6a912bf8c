"""What lies in PostgreSQL: the same however it came there, and never changed by accident."""
