"""One suite for each contract, run on the local and on the remote binding."""
