"""TensorFlow Serving's API over gRPC and REST: its messages, its JSON, its warm-up records.

May import the rest of `protocols` and the packages below it, but not the KServe API.
"""
