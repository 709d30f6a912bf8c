"""PostgreSQL and Valkey from pip packages, run by us: the home they live in, their programs, their processes.

Standard library only: the supervisor imports this and stays small. On systems without /proc, psutil is imported when a
process that we did not start has to be found.
"""
