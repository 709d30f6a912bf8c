"""The documents against the code: what they say exists, and what exists is said."""
