"""The load of a run: scenarios, plans, and arrival times.

Settings and seeds decide everything: the same seed gives the same load. May import settings,
the report's schema and the rows.
"""
