"""The commands `run`, `find-capacity`, `report` and `compare`: arguments in, exit code out.

A command connects rooms and contains no measuring of its own. May import every room but matrix and
web.
"""
