"""Ways to publish a version: from a run, a SavedModel or an ONNX file, or with more precisions.

A version appears as a whole or not at all. May import sources, convert, gates, precisions, papers
and the names of measure's sections.
"""
