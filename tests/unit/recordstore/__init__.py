"""Structure, field types and plans, without a database."""
