"""A mix: several models and batch sizes at the same time on one server, and one report on all.

Each stream is a separate `python -m loadtest run` process; all start at the same moment. May import
matrix, servers, generator's start gate, load, settings and reports.
"""
