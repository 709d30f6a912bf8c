"""Import of delimited text files, without a database."""
