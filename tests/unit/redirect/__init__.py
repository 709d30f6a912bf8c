"""Unit tests of pyat.redirect."""
