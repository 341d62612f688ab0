"""Conversions: Keras model to SavedModel, SavedModel to ONNX, each with the same bytes every time.

May import sources, graphs, gates and TensorFlow. What is converted is written to the folder given;
no module here knows where versions lie.
"""
