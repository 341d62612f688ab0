"""Check and answer requests, independent of the transport: Predict, Classify and Regress.

Imports neither gRPC nor a web server nor `transport`; may import `engine`, `repository`, `tensors`.
"""
