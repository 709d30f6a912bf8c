"""Unit tests of pyat.cli."""
