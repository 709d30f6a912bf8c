"""The contract of file, on both bindings."""
