"""Rewrites of ONNX graphs that keep their answers.

Imports onnx and NumPy and no other room of export.
"""
