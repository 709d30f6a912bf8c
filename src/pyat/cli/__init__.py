"""The command `pyat`: what a person types and reads. Rules and data are elsewhere."""
