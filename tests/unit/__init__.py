"""Rules without sockets and databases."""
