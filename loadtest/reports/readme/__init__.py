"""The README's performance table, and the digest of a report from which it is written.

May import pages and the modules of reports beside it.
"""
