"""What a run sends and when: scenarios, plans, arrival times and the order of the images.

Everything follows from settings and seeds: the same seed gives the same load. May import settings
and the report's schema, and the data reader of training.
"""
