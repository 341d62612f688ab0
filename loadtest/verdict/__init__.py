"""Checks of a run: rules of validity, gates, and the comparison with a baseline.

Every check has a text with the measured and the expected value. May import figures, load and
settings. It sends nothing and writes nothing.
"""
