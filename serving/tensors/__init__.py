"""Tensors and their descriptions: element types, specs, signatures, tf.Examples, images.

Imports neither gRPC nor a web server nor `transport`; may import `errors` and `protos`.
"""
