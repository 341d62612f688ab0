"""What lies on disk and what is wanted of it: version folders, publishing, model lists.

Imports neither gRPC nor a web server nor `transport`; may import `tensors`.
"""
