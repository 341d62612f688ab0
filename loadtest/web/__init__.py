"""Locust's web UI on this package's requests, scores and figures.

Locust patches the standard library when it is imported, so no other subpackage imports this one.
May import figures, generator, load, transports and settings, and the client of serving.
"""
