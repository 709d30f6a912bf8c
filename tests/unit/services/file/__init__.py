"""Tests of file without servers."""
