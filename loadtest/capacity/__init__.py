"""The search for the highest rate whose latency stays within a bound.

`rate_search` chooses the next rate and measures nothing itself; `find` measures on a live server.
May import session and everything that session may import.
"""
