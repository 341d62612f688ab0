"""The loaded versions and how they run: catalog, manager, servables, batcher, ONNX Runtime.

`catalog` is what everybody reads; `manager` alone changes it. Imports neither gRPC nor a web server
nor `transport`; may import `repository` and `tensors`.
"""
