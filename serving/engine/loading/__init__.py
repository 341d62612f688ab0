"""The way from a version that is wanted to one that is available: its stages, and reloads.

`progress` stands below the servables, which note in it what they are at; `candidates` stands above
them, between the catalog and the manager.
"""
