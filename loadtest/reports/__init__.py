"""Collections of finished runs: comparisons, tables, plots and pages.

These modules read reports and measure nothing. May import the report's schema and its reader,
settings, and of training data, evaluation and pages.
"""
