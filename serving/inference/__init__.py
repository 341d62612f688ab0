"""From a request without a transport to an answer: the checks, Predict, Classify and Regress.

Imports neither gRPC nor a web server nor `transport`; may import `engine`, `repository`, `tensors`.
"""
