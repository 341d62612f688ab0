"""The view of runs in progress: a full screen on a terminal, lines elsewhere.

Answers are scored and figures are computed in a process of their own, so that the load generator
only copies bytes. May import session, verdict, figures, load and settings.
"""
