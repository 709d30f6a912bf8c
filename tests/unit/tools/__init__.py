"""Tests of the repository itself: its import contracts, its rules, its set-up."""
