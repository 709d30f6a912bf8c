"""What everything stands on, against real servers."""
