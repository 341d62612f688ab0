"""Results that are finished: collections, comparisons, tables, and the words around them.

Everything here reads reports and measures nothing. May import the report's schema and settings, and
the statistics of training.
"""
