"""The commands `run`, `find-capacity`, `report` and `compare`.

A command takes arguments and returns an exit code. It calls the other subpackages and measures
nothing itself. May import every subpackage except matrix and web.
"""
