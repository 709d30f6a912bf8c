"""Redirected programs against servers of any kind."""
