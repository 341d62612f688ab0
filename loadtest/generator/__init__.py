"""The load generator: sends a plan's requests on time and records what becomes of each.

It runs in this process or in several, and gives the same Recording either way. It parses nothing
while the clock runs. May import load, transports and settings.
"""
