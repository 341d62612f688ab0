"""The README's performance table, and the digest of a report that it is written from.

May import pages and the modules of reports beside it.
"""
