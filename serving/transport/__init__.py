"""Bytes in and out: sockets, TLS, gRPC and HTTP, limits, and the answers to failed requests.

It knows no model: `method_table` and `route_table` say which handler answers what. May import
`errors`, `stage_times` and `protos` alone.
"""
