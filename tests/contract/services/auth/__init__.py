"""The contract of auth, on both bindings."""
