"""Tests of pyat.assembly that need no server."""
