"""Rewrites of ONNX graphs that do not change their answers.

Imports onnx and NumPy, and no other folder of export.
"""
