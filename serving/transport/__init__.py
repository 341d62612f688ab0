"""Bytes in and out: sockets, TLS, gRPC and HTTP, limits, and the answers to failed requests.

This package knows no models: `method_table` and `route_table` map each request to its handler. It
may import `errors`, `stage_times` and `protos` only.
"""
