"""Conversions: Keras model to SavedModel, SavedModel to ONNX, each with the same bytes every time.

May import sources, graphs, gates and TensorFlow. A conversion writes to the folder that its caller
passes; no module here knows where versions are stored.
"""
