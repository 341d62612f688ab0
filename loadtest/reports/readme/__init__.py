"""The README's performance table, and the digest of a report that the table is made from.

This package may import pages and the modules of reports beside it.
"""
