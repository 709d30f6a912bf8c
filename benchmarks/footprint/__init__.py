"""How much memory an idle platform takes, and how long it takes to be ready."""
