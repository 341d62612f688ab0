"""The Open Inference Protocol (KServe v2) over gRPC and REST.

`operations` is what both transports share. May import the rest of `protocols` and the folders
below, but not TensorFlow Serving's API.
"""
