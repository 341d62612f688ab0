"""Locust's door: the same requests, scores and figures behind Locust's web UI.

Locust patches the standard library when it is imported, so no other room imports this one. May
import figures, generator, load, transports and settings, and the client of serving.
"""
