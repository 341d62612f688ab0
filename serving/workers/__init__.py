"""Several processes as one server: a supervisor, its workers, and the channel between them.

May import every folder below it. A server with one worker uses nothing of it.
"""
