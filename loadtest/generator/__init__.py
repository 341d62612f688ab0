"""The load generator: it sends a plan's requests on time and records their answers and errors.

It runs in this process or in several, and returns a Recording in both cases. It parses no answers
during the run. May import load, transports and settings.
"""
