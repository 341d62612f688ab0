"""The search for the server's fastest flags on this machine, and its output.

The rules of the search (`cells`, `halving`, `gain`) need no server. May import the session and all
folders below it.
"""
