"""Certificates that change while the server runs: their facts, and the poll of their files.

May import from `serving` what `serving.transport` may.
"""
