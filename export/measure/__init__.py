"""Measurements of a published version: speed beside TensorFlow, accuracy after JPEG.

A measurement returns a section for metrics.json and writes no file. May import of export the errors
and native_log, and runs graphs with the server's runtime.
"""
