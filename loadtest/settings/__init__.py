"""Settings of a load test: dataclasses, and the command lines that fill them in.

A setting that cannot be right ends the program here, in one line and before anything is sent. May
import the report's schema for the names of scenarios and transports, nothing else of the package.
"""
