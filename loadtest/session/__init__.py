"""One run on one server: ask, warm up, measure, score, and put the report together.

A session keeps images, requests and connections for several runs. May import every room below it:
verdict, figures, generator, servers, transports, load and settings.
"""
