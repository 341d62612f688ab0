"""The Open Inference Protocol (KServe v2) over gRPC and REST.

Both transports call `operations`. May import the rest of `protocols` and the packages below it, but
not TensorFlow Serving's API.
"""
