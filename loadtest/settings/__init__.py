"""Settings of a load test: dataclasses, and the parsers of the command lines.

A wrong setting ends the program with one line of error before any request is sent. May import the
report's schema for the names of scenarios and transports, nothing else of the package.
"""
