"""The load of a run: scenarios, plans, arrival times and the order of the images.

Settings and seeds decide everything: the same seed gives the same load. May import settings and
the report's schema, and the data reader of training.
"""
