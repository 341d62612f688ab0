"""Turns a trained model into a published version: converted, checked, measured and described.

May import training's data, evaluation, live_line, native_log and settings, and from serving the
folders engine, protos, repository and tensors and the module errors: export writes and runs a
version with the same code that the server reads and runs it with. Never imports loadtest.
"""
