"""Tests: unit (no socket), integration (real servers), contract (both bindings), acceptance (started processes)."""
