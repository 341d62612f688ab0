"""Many runs in turn: a matrix file, the runs it describes, and one report on all of them.

Each run is a separate `python -m loadtest` process. May import servers, load, settings and reports;
it never imports session, because those processes do the measuring.
"""
