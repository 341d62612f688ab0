"""What a matrix and a mix share: their files, their servers, their runs, and how they end.

A plan is several runs, each a separate `python -m loadtest` process. May import reports, servers,
settings, rows, verdict and generator's start gate, but not session: the runs' own processes do the
measuring.
"""
