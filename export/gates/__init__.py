"""Gates: comparisons that decide whether a converted model may be published.

A gate takes answers or files, and raises GateFailed or returns its objections. May import the
errors and progress of export, and sources.
"""
