"""A mix: several models and batch sizes at the same time on one server, and one report on all.

All streams start at the same moment. May import plans, generator's start gate, load, servers,
settings, reports and, of session, only the stop signals.
"""
