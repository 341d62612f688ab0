"""Turns a trained model into a published version: converted, checked, measured and described.

May import training's data, evaluation and settings, and of serving the folders engine, protos,
repository and tensors and the module errors: a version is written and asked as the server reads and
asks it. Never imports loadtest.
"""
