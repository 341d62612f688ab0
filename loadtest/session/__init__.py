"""One run on one server: discover the model, warm up, measure, score and build the report.

A session keeps images, requests and connections for several runs. May import verdict, figures,
generator, servers, transports, load and settings.
"""
