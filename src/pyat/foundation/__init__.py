"""What every service stands on: ids, errors, settings, clock, database, cache, calls between services, web shell."""
