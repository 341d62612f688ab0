"""The loaded versions and how they run: catalog, manager, servables, batcher, ONNX Runtime.

Other packages read `catalog`; only `manager` changes it. Imports neither gRPC nor a web server nor
`transport`; may import `repository` and `tensors`.
"""
