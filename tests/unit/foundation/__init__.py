"""What everything stands on, without sockets and databases."""
