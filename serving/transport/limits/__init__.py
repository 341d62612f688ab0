"""Limits on the bytes and connections that one caller, or all callers together, may use.

May import `errors` only.
"""
