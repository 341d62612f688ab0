"""Files on disk: reading version folders, publishing versions, and lists of the models to serve.

Imports neither gRPC nor a web server nor `transport`; may import `tensors`.
"""
