"""Many runs in turns: a matrix file, the runs that it asks for, and one report over all.

Each run is a `python -m loadtest` process of its own. May import servers, load, settings and
reports; it never imports session, because the processes do the measuring.
"""
