"""The search for the highest rate whose latency stays within a bound.

`rate_search` decides which rate comes next and measures nothing itself; `find` measures on a live
server. May import session and what that may import.
"""
