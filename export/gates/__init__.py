"""Gates: comparisons that decide whether a converted model may be published.

A gate takes answers or files, and raises GateFailed or names its objections. May import of export
the errors alone.
"""
