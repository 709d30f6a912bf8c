"""`python -m pyat` is the command `pyat`."""

from pyat.cli.main import main

main()
