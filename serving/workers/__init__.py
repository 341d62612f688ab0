"""One server with several processes: a supervisor, its workers, and the channel between them.

May import every folder below it. A server with one worker does not use this folder.
"""
