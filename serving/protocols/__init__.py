"""Decode requests and encode answers: one folder for each API, and modules that the APIs share.

A handler decodes a request, calls `inference`, `engine.catalog` or `engine.manager`, and encodes
the answer. `*_methods` modules have rows of the gRPC method table, `*_routes` modules rows of the
HTTP route table. May import `monitoring`, `inference` and the packages below them; the two APIs do
not import each other.
"""
