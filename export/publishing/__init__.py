"""Ways to publish a version: from a run, from a SavedModel, or with more precisions.

A version appears as a whole or not at all. May import every room below: sources, convert, gates,
precisions, papers and the names of measure's sections.
"""
