"""What field types take, refuse and store."""
