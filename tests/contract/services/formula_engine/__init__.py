"""The contract of formula_engine, on both bindings."""
