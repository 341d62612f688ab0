"""Servers of a load test: `python -m serving`, the null server, and reading any metrics page.

May import settings and the report's schema, and the codecs and messages of serving. It never
imports the server itself, which runs as a separate process.
"""
