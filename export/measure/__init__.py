"""Measurements of a published version: speed beside TensorFlow, accuracy after JPEG.

A measurement returns a section for metrics.json and writes no file. It runs graphs with the
server's runtime. May import the errors and progress of export, and the random inputs of gates.
"""
