"""Servers that a load test starts or asks: `python -m serving`, the null server, any metrics page.

May import settings and the report's schema, and the codecs and messages of serving. It never
imports the server itself: that runs as a process of its own.
"""
